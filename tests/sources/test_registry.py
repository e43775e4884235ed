"""Every format has one home, and is imported when it is named."""

import subprocess
import sys
from pathlib import Path

import pytest
from places import SAMPLE

from costwhy.config import SECTIONS
from costwhy.sources.registry import FORMATS, format_behind, format_of, formats_in
from costwhy.sources.signals import cloudwatch, cloudwatch_presets, metrics

INGEST = Path(__file__).parents[2] / "src/costwhy/ingest"


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_says_its_section_and_how_it_is_read(name):
    found = format_of(name)
    assert name in formats_in(found.section)
    assert found.source in {found.section, *FORMATS}
    assert (found.bill is not None) == (found.section == "cost")
    assert name == "tags" or found.bill or found.read or found.live
    assert (found.files is not None) == bool(found.bill or found.read)
    assert format_behind(found.source).cannot_show == found.cannot_show


def test_every_section_has_its_formats():
    assert [name for section in SECTIONS for name in formats_in(section)] == sorted(
        FORMATS, key=lambda name: SECTIONS.index(format_of(name).section)
    )
    assert format_behind("a format of tomorrow") is None


def test_a_costwhy_toml_of_files_needs_no_client_of_aws_or_prometheus():
    code = (
        "import sys; from costwhy.config import read_workspace; "
        f"read_workspace({str(SAMPLE)!r}); "
        "print(*{'boto3', 'botocore', 'httpx', 'httpx2', 'duckdb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_ingest_names_no_format():
    words = {f'"{name}"' for name in FORMATS} - {f'"{section}"' for section in SECTIONS}
    words -= {'"signals"', '"changes"'}
    text = "".join(file.read_text() for file in INGEST.glob("*.py"))
    assert [word for word in words if word in text] == []


def test_the_presets_that_costwhy_toml_may_name_are_those_that_there_are():
    hint = cloudwatch.Config.__annotations__["presets"]
    assert hint.__args__[0].__args__ == tuple(cloudwatch_presets.PRESETS)
    assert set(metrics.METRICS) == {"calls", "retries", "errors", "bytes", "capacity"}
