# the commands of the project; each is one line, so that it can be typed as well
.PHONY: test all-tests check app sample pictures reference
test: ; uv run pytest
all-tests: ; uv run pytest -m "" --cov --cov-report=term:skip-covered
check: ; uv run ruff check src tests benchmarks data docs && uv run ruff format --check src tests benchmarks data docs && uv run lint-imports && uv run mypy && uv run marimo check --strict notebooks/*.py
app: ; uv run costwhy demo
sample: ; uv run python data/generate.py
pictures: ; uv run python docs/pictures.py
reference: ; uv run python docs/reference.py
