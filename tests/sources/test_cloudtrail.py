"""CloudTrail log files become changes."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from places import COMPANIES, DATA, SAMPLE, SHARED, external

from costwhy.errors import SourceError
from costwhy.sources import records
from costwhy.sources.changes import cloudtrail
from costwhy.sources.changes.cloudtrail_calls import touched_names
from costwhy.sources.inventory import find_files
from costwhy.tables import CHANGES, SEEN, SET_ASIDE

NAME = "111_CloudTrail_eu-west-1_20261014T0305Z_abc.json.gz"
DANA = "dana@acme.example"


def role(name: str, session: str, **more: object) -> dict:
    arn = f"arn:aws:sts::111:assumed-role/{name}/{session}"
    return {
        "type": "AssumedRole",
        "arn": arn,
        "sessionContext": {"sessionIssuer": {"userName": name}},
        **more,
    }


def record(
    event: str = "ec2.amazonaws.com:StopInstances", asked: object = None, **more: object
) -> dict:
    source, name = event.split(":")
    return {
        "eventID": "e1",
        "eventTime": "2026-10-14T03:00:30Z",
        "eventSource": source,
        "eventName": name,
        "awsRegion": "eu-west-1",
        "recipientAccountId": "111",
        "readOnly": False,
        "userIdentity": role("Admins", DANA),
        "requestParameters": asked,
    } | more


def put(folder: Path, *records: object, name: str = NAME) -> Path:
    file = folder / name
    text = json.dumps({"Records": list(records)}).encode()
    file.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return file


def one(folder: Path, *args: object, **more: object) -> dict:
    rows = cloudtrail.read([put(folder, record(*args, **more))]).rows  # type: ignore[arg-type]
    assert rows.height == 1
    return rows.row(0, named=True)


def without_delivery(table) -> list[str]:
    return [name for name in table.schema.names() if name != "delivery"]


def test_the_frames_have_the_columns_of_the_tables(tmp_path):
    for reading in (cloudtrail.read([]), cloudtrail.read([put(tmp_path, record(), {"bad": 1})])):
        assert reading.rows.columns == without_delivery(CHANGES)
        assert reading.set_aside.columns == without_delivery(SET_ASIDE)
        assert reading.seen.columns == without_delivery(SEEN)


def test_reads_and_failed_calls_are_seen_and_are_no_changes(tmp_path):
    file = put(
        tmp_path,
        record(eventID="write"),
        record(eventID="read", readOnly=True),
        record(eventID="failed", errorCode="AccessDenied"),
        record("ec2.amazonaws.com:DescribeInstances", eventID="old read", readOnly=None),
        record("ec2.amazonaws.com:RebootInstances", eventID="old write", readOnly=None),
    )
    reading = cloudtrail.read([file])
    assert reading.rows["change_id"].to_list() == ["write", "old write"]
    assert reading.seen.rows() == [("cloudtrail", "111", datetime(2026, 10, 14, 3, tzinfo=UTC), 5)]


def test_a_record_delivered_twice_is_one_change(tmp_path):
    twice = [put(tmp_path, record(), name="a.json"), put(tmp_path, record(), name="b.json")]
    reading = cloudtrail.read(twice)
    assert (reading.rows.height, reading.seen["records"].sum()) == (1, 2)


def test_a_change_is_known_when_its_file_was_delivered(tmp_path):
    row = one(tmp_path)
    assert row["time"] == datetime(2026, 10, 14, 3, 0, 30, tzinfo=UTC)
    assert row["known_at"] == datetime(2026, 10, 14, 3, 5, tzinfo=UTC)
    plain = cloudtrail.read([put(tmp_path, record(), name="records.json")])
    assert plain.rows["known_at"].to_list() == [None]


@pytest.mark.parametrize(
    ("event", "asked", "kind", "summary"),
    [
        ("events.amazonaws.com:PutRule", {"name": "refresh-sync", "scheduleExpression": "rate(1 minute)", "state": "ENABLED"},
         "schedule", "PutRule refresh-sync: rate(1 minute)"),
        ("application-autoscaling.amazonaws.com:RegisterScalableTarget",
         {"serviceNamespace": "ecs", "resourceId": "service/prod/fraud-check", "scalableDimension": "ecs:service:DesiredCount",
          "minCapacity": 27, "maxCapacity": 27},
         "scaling", "RegisterScalableTarget service/prod/fraud-check: minCapacity 27, maxCapacity 27"),
        ("ecs.amazonaws.com:UpdateService", {"cluster": "prod", "service": "cart", "taskDefinition": "arn:aws:ecs:e:1:task-definition/cart:7"},
         "deploy", "UpdateService service/prod/cart: taskDefinition cart:7"),
        ("ecs.amazonaws.com:UpdateService", {"cluster": "prod", "service": "cart", "desiredCount": 9},
         "scaling", "UpdateService service/prod/cart: desiredCount 9"),
        ("lambda.amazonaws.com:UpdateFunctionCode20150331v2", {"functionName": "f", "publish": True}, "deploy", "UpdateFunctionCode f"),
        ("lambda.amazonaws.com:UpdateFunctionConfiguration20150331v2", {"functionName": "f", "memorySize": 512},
         "config", "UpdateFunctionConfiguration f: memorySize 512"),
        ("ssm.amazonaws.com:PutParameter", {"name": "/prod/cart/ttl", "value": "HIDDEN_DUE_TO_SECURITY_REASONS"},
         "config", "PutParameter /prod/cart/ttl"),
        ("dynamodb.amazonaws.com:UpdateTable", {"tableName": "t", "billingMode": "PROVISIONED"}, "scaling", "UpdateTable t: billingMode PROVISIONED"),
        ("rds.amazonaws.com:ModifyDBInstance", {"dBInstanceIdentifier": "d", "dBInstanceClass": "db.r6g.xlarge"},
         "scaling", "ModifyDBInstance d: dBInstanceClass db.r6g.xlarge"),
        ("scheduler.amazonaws.com:UpdateSchedule", {"name": "s", "scheduleExpression": "rate(5 minutes)"}, "schedule", "UpdateSchedule s: rate(5 minutes)"),
        ("ec2.amazonaws.com:RunInstances", {"instanceType": "m7g.large"}, "create", "RunInstances: instanceType m7g.large"),
        ("ec2.amazonaws.com:TerminateInstances", {"instancesSet": {"items": [{"instanceId": "i-1"}]}}, "delete", "TerminateInstances i-1"),
        ("tagging.amazonaws.com:UntagResources", {"resourceARNList": ["arn:aws:s3:::b"], "tagKeys": ["x"]}, "tag", "UntagResources arn:aws:s3:::b"),
        ("savingsplans.amazonaws.com:CreateSavingsPlan", {"commitment": "1.5"}, "commitment", "CreateSavingsPlan: commitment 1.5"),
        ("ec2.amazonaws.com:PurchaseReservedInstancesOffering", {"instanceCount": 2}, "commitment", "PurchaseReservedInstancesOffering: instanceCount 2"),
        ("appconfig.amazonaws.com:StartDeployment", {"applicationId": "flags"}, "flag", "StartDeployment flags"),
        ("codedeploy.amazonaws.com:StopDeployment", {"deploymentId": "d-1"}, "rollback", "StopDeployment d-1"),
        ("sts.amazonaws.com:Frobnicate", None, "other", "Frobnicate"),
    ],
)  # fmt: skip
def test_a_call_has_a_kind_and_says_its_decisive_values(tmp_path, event, asked, kind, summary):
    row = one(tmp_path, event, asked)
    assert (row["kind"], row["summary"], row["event"]) == (kind, summary, event)


@pytest.mark.parametrize(
    ("identity", "actor", "kind", "by"),
    [
        ({"type": "IAMUser", "userName": "dana.lee"}, "dana.lee", "person", None),
        ({"type": "IAMUser", "userName": "ci-bot"}, "ci-bot", "pipeline", None),
        ({"type": "Root"}, "root", "person", None),
        (role("AWSReservedSSO_DeployAccess_1", DANA), DANA, "person", "AWSReservedSSO_DeployAccess_1"),
        (role("AWSReservedSSO_Admin_1", "dana"), "dana", "person", "AWSReservedSSO_Admin_1"),
        (role("github-actions-deploy", "run-253556837"), "github-actions-deploy", "pipeline", "github-actions-deploy"),
        (role("terraform-apply", DANA), DANA, "person", "terraform-apply"),
        (role("ci-deployer", "run-1", sessionContext={"sessionIssuer": {"userName": "ci-deployer"}, "sourceIdentity": DANA}),
         DANA, "person", "ci-deployer"),
        (role("billing-reader", "nightly"), "nightly", "role", "billing-reader"),
        ({"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/jenkins/build-7"}, "jenkins", "pipeline", "jenkins"),
    ],
)  # fmt: skip
def test_the_person_is_named_where_the_record_names_one(tmp_path, identity, actor, kind, by):
    row = one(tmp_path, userIdentity=identity)
    assert (row["actor"], row["actor_kind"], row["role"], row["automated"]) == (
        actor,
        kind,
        by,
        False,
    )


@pytest.mark.parametrize(
    "identity",
    [
        {"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"},
        {"accountId": "111", "invokedBy": "secretsmanager.amazonaws.com"},
        role("AWSServiceRoleForAutoScaling", "AutoScaling", invokedBy="autoscaling.amazonaws.com"),
        role("web-nodes", "i-0dbc91f429e48eeed"),
    ],
)
def test_a_machines_own_routine_is_automated(tmp_path, identity):
    assert one(tmp_path, userIdentity=identity)["automated"]


def test_what_cloudformation_does_for_a_person_is_that_persons_decision(tmp_path):
    identity = role("Admins", DANA, invokedBy="cloudformation.amazonaws.com")
    row = one(tmp_path, userIdentity=identity, sourceIPAddress="cloudformation.amazonaws.com")
    assert (row["actor"], row["automated"]) == (DANA, False)


def test_our_service_is_taken_only_from_an_explicit_name(tmp_path):
    tags = {"tagSpecificationSet": {"items": [{"tags": [{"key": "app", "value": "cart"}]}]}}
    assert (
        one(tmp_path, "ecs.amazonaws.com:UpdateService", {"cluster": "prod", "service": "cart"})[
            "service"
        ]
        == "cart"
    )
    assert one(tmp_path, "ec2.amazonaws.com:RunInstances", tags)["service"] == "cart"
    assert (
        one(tmp_path, "lambda.amazonaws.com:CreateFunction20150331", {"tags": {"service": "cart"}})[
            "service"
        ]
        == "cart"
    )
    assert (
        one(tmp_path, "lambda.amazonaws.com:PublishVersion", {"functionName": "cart-handler"})[
            "service"
        ]
        is None
    )


def test_all_touched_names_are_found_wherever_the_record_has_them():
    touched = touched_names(
        record(
            asked={"roleName": "r", "list": [{"volumeId": "vol-1"}], "tags": [{"key": "Name", "value": "web"}], "size": 5},
            responseElements={"functionArn": "arn:f"},
            resources=[{"ARN": "arn:b"}],
        )
    )  # fmt: skip
    assert touched == ("r", "vol-1", "web", "arn:f", "arn:b")


def test_the_values_asked_for_are_kept_as_json_of_at_most_4_kb(tmp_path):
    assert json.loads(one(tmp_path, asked={"name": "n", "value": 5})["after"]) == {
        "name": "n",
        "value": 5,
    }
    long = one(
        tmp_path,
        asked={"name": "n", "policy": "x" * 5_000_000, "many": list(range(100_000)), "min": 1},
    )["after"]
    assert len(long) <= 4096
    assert json.loads(long)["min"] == 1


def test_markup_stays_text_and_control_characters_do_not_reach_a_terminal(tmp_path):
    row = one(
        tmp_path,
        asked={"name": "<script>alert(1)</script>\x1b[31m\u202e"},
        userIdentity=role("r", "\x07mallory"),
    )
    assert row["resource"] == "<script>alert(1)</script> [31m "
    assert row["actor"] == " mallory"


def test_a_broken_record_does_not_take_the_others_with_it(tmp_path):
    file = put(
        tmp_path,
        record(eventID="good"),
        record(eventID="clock", eventTime="2026-10-14T03:00:30"),
        {"eventTime": "2026-10-14T03:00:30Z"},
        "text",
        record(eventID=None),
        {**record(), "eventName": 5},
        record(eventID="odd", userIdentity="nobody", asked=[1]),
    )
    reading = cloudtrail.read([file])
    assert reading.rows["change_id"].to_list() == ["good", "odd"]
    assert reading.set_aside["place"].to_list() == [f"record {n}" for n in (2, 3, 4, 5, 6)]
    reasons = reading.set_aside["reason"].to_list()
    assert reasons[0] == "time 2026-10-14T03:00:30 has no zone: write UTC as a final Z"
    assert "eventName" in reasons[1]
    assert reasons[3] == "the record has no eventID"
    assert reading.set_aside["record"].str.len_chars().max() <= 301


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8bbroken", b"{", b"no json", gzip.compress(b"x" * 100, mtime=0)[:20], b"[" * 100_000],
)
def test_an_unreadable_file_is_set_aside_whole(tmp_path, content):
    bad = tmp_path / "bad.json.gz"
    bad.write_bytes(content)
    reading = cloudtrail.read([bad, put(tmp_path, record())])
    assert reading.rows.height == 1
    assert reading.set_aside.select("file", "records").rows() == [(str(bad), 1)]


def test_a_decompression_bomb_is_refused_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 10 * 2**20)
    bomb = put(tmp_path, record(asked={"name": "x" * (20 * 2**20)}))
    assert bomb.stat().st_size < 100_000
    reading = cloudtrail.read([bomb])
    assert reading.rows.height == 0
    assert reading.set_aside["reason"].to_list() == [
        "the file is larger than 10 MB when decompressed: split it"
    ]


def test_json_lines_and_plain_files_are_read_too(tmp_path):
    lines = tmp_path / "a.jsonl"
    good = [
        json.dumps(record(eventID="a")),
        "{broken",
        json.dumps({"Records": [record(eventID="b"), record(eventID="c")]}),
    ]
    lines.write_text("\n".join(good))
    empty = tmp_path / "empty.json"
    empty.write_text("")
    reading = cloudtrail.read([lines, empty])
    assert reading.rows["change_id"].to_list() == ["a", "b", "c"]
    assert reading.set_aside["place"].to_list() == ["line 2"]


def test_many_records_with_one_fault_share_rows_but_are_all_counted(tmp_path):
    reading = cloudtrail.read([put(tmp_path, *[record(eventTime="never")] * 500)])
    assert reading.set_aside.height == 20
    assert reading.set_aside["records"].sum() == 500


def test_insights_and_digests_are_no_changes(tmp_path):
    digest = tmp_path / "AWSLogs/111/CloudTrail-Digest"
    digest.mkdir(parents=True)
    put(digest, record())
    with pytest.raises(SourceError, match="nothing to read"):
        find_files("AWSLogs", tmp_path, cloudtrail.FORMAT.files)
    reading = cloudtrail.read([digest / NAME, put(tmp_path, record(eventCategory="Insight"))])
    assert (reading.rows.height, reading.seen.height, reading.set_aside.height) == (0, 0, 0)


def test_files_are_found_by_name_folder_and_glob(tmp_path):
    (tmp_path / "AWSLogs/111").mkdir(parents=True)
    file = put(tmp_path / "AWSLogs/111", record())
    for path in ("AWSLogs/", f"AWSLogs/111/{NAME}", "AWSLogs/*/*.gz", "AWSLogs/**/*.json.gz"):
        assert find_files(path, tmp_path, cloudtrail.FORMAT.files) == (file,)
    for path in ("nowhere/", "*.parquet"):
        with pytest.raises(SourceError, match="nothing to read at path"):
            find_files(path, tmp_path, cloudtrail.FORMAT.files)


@pytest.mark.parametrize(
    ("place", "records", "writes", "failed", "tags"),
    [
        pytest.param(DATA, 115, 19, 3, 2, id="own"),  # TagInstanceProfile + PutBucketTagging
        # 3 TagInstanceProfile + 2 PutBucketTagging + 1 CreateTags
        external(SHARED / "data", 1667, 391, 67, 6, id="shared"),
    ],
)
def test_of_real_write_events_those_that_succeeded_are_changes(
    place, records, writes, failed, tags
):
    reading = cloudtrail.read(find_files(".", place / "cloudtrail", cloudtrail.FORMAT.files))
    assert reading.seen["records"].sum() == records
    assert reading.rows.height == writes - failed  # these carry an errorCode
    assert reading.set_aside.height == 0
    kinds = dict(reading.rows["kind"].value_counts().iter_rows())
    assert kinds["tag"] == tags
    people = reading.rows.filter(automated=False)["actor"].unique().to_list()
    assert people == ["bert-jan"]


@pytest.mark.parametrize("company", COMPANIES)
def test_every_record_of_the_sample_companies_can_be_read(company):
    reading = cloudtrail.read(find_files("cloudtrail", company, cloudtrail.FORMAT.files))
    assert reading.set_aside.height == 0
    assert reading.rows.height > 0
    assert reading.rows.filter(reading.rows["actor"].is_null()).height == 0
    # the sample company's autoscaler shows only its role, that of the cases says who invoked it
    known = "AWSServiceRoleForAutoScaling" if company == SAMPLE else "autoscaling.amazonaws.com"
    assert set(reading.rows.filter(automated=True)["actor"]) <= {known}
