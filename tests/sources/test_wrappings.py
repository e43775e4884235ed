"""CloudTrail, CDEvents and scaling activities in the wrappings in which people have them."""

import base64
import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake
from costwhy.sources import records
from costwhy.sources.changes import autoscaling, cdevents, cloudtrail

BILL = "ChargePeriodStart,BillingCurrency,EffectiveCost\n2026-10-14T00:00:00Z,USD,1\n"
TOML = """[workspace]
name = "acme"
currency = "USD"
[[cost]]
format = "focus"
path = "bill.csv"
[[changes]]
format = "cloudtrail"
path = "trail/"
"""


def event(ident: str = "e-1", **more: object) -> dict:
    return {
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "userName": "jürgen"},
        "eventTime": "2026-10-14T03:00:30Z",
        "eventSource": "ec2.amazonaws.com",
        "eventName": "ModifyInstanceAttribute",
        "awsRegion": "eu-west-1",
        "requestParameters": {"instanceId": "i-1", "instanceType": {"value": "m5.4xlarge"}},
        "eventID": ident,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
    } | more


def cdevent(ident: str = "e-1") -> dict:
    return {
        "context": {
            "version": "0.4.1",
            "id": ident,
            "type": "dev.cdevents.service.deployed.0.2.0",
            "timestamp": "2026-10-14T03:00:30Z",
        },
        "subject": {"id": "cart", "type": "service", "content": {}},
        "customData": {"actor": "jürgen"},
    }


def activity(ident: str = "e-1") -> dict:
    return {
        "ActivityId": ident,
        "AutoScalingGroupName": "jürgen",
        "Cause": "changing the desired capacity from 2 to 4",
        "StartTime": "2026-10-14T03:00:30+00:00",
        "StatusCode": "Successful",
        "Details": "{}",
    }


MAKERS = {
    cloudtrail: event,
    cdevents: cdevent,
    autoscaling: activity,
}


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def packed(value: object) -> str:
    return base64.b64encode(gzip.compress(text(value).encode())).decode()


def lookup(*events: dict) -> dict:
    return {
        "Events": [
            {
                "EventId": f"x{n}",
                "EventName": "x",
                "EventTime": "2026-10-14T05:00:30+02:00",
                "Resources": [{"ResourceType": "a", "ResourceName": "b"}],
                "CloudTrailEvent": text(one),
            }
            for n, one in enumerate(events)
        ]
    }


def subscription(*events: dict) -> dict:
    return {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "trail",
        "logEvents": [
            {"id": f"{n}", "timestamp": 1, "message": text(one)} for n, one in enumerate(events)
        ],
    }


def eventbridge(one: dict) -> dict:
    return {"version": "0", "id": "x", "detail-type": "AWS API Call via CloudTrail", "detail": one}


def sns(one: object) -> dict:
    return {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:x", "Message": text(one)}


def sqs(*bodies: object) -> dict:
    return {
        "Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": text(one)} for one in bodies]
    }


def insights(*events: dict) -> dict:
    rows = [
        [{"field": "@timestamp", "value": "x"}, {"field": "@message", "value": text(one)}]
        for one in events
    ]
    return {"results": rows, "statistics": {"recordsMatched": 2.0}, "status": "Complete"}


WRAPPINGS = {
    "bare": lambda a, b: f"{text(a)}\n{text(b)}",
    "Records": lambda a, b: text({"Records": [a, b]}),
    "records": lambda a, b: text({"records": [a, b]}),
    "list": lambda a, b: text([a, b]),
    "pretty list": lambda a, b: json.dumps([a, b], indent=2, ensure_ascii=False),
    "lines of lists": lambda a, b: f"{text([a])}\n\n{text([b])}\n",
    "lines with commas": lambda a, b: f"{text(a)},\n{text(b)},",
    "one after another": lambda a, b: f"{text(a)}{text(b)}",
    "Records one after another": lambda a, b: f"{text({'Records': [a]})}{text({'Records': [b]})}",
    "pretty, one after another": lambda a, b: "".join(
        json.dumps(one, indent=4, ensure_ascii=False) for one in (a, b)
    ),
    "pretty, with line breaks": lambda a, b: "\n".join(
        json.dumps({"Records": [one]}, indent=4, ensure_ascii=False) for one in (a, b)
    ),
    "text sequence": lambda a, b: f"\x1e{text(a)}\n\x1e{text(b)}\n",
    "lookup-events": lambda a, b: text(lookup(a, b)),
    "pages of lookup-events": lambda a, b: "\n".join(
        json.dumps({**lookup(one), "NextToken": "n"}, indent=4, ensure_ascii=False)
        for one in (a, b)
    ),
    "lookup-events --query": lambda a, b: text([text(a), text(b)]),
    "lookup-events --query as objects": lambda a, b: text(
        [{"CloudTrailEvent": text(a)}, {"CloudTrailEvent": text(b)}]
    ),
    "subscription": lambda a, b: text(subscription(a, b)),
    "subscription in lambda": lambda a, b: text({"awslogs": {"data": packed(subscription(a, b))}}),
    "kinesis": lambda a, b: text(
        {"Records": [{"kinesis": {"data": packed(subscription(one))}} for one in (a, b)]}
    ),
    "get-records": lambda a, b: text({"Records": [{"Data": packed(one)} for one in (a, b)]}),
    "filter-log-events": lambda a, b: json.dumps(
        {"events": subscription(a, b)["logEvents"], "searchedLogStreams": [], "nextToken": "n"},
        indent=4,
        ensure_ascii=False,
    ),
    "export of CloudWatch Logs": lambda a, b: "".join(
        f"2026-10-14T03:00:30.123Z {text(one)}\n" for one in (a, b)
    ),
    "aws logs tail": lambda a, b: "".join(
        f"2026-10-14T03:00:30.123000+00:00 111_CloudTrail_eu {text(one)}\n" for one in (a, b)
    ),
    "Logs Insights": lambda a, b: text(insights(a, b)),
    "EventBridge": lambda a, b: f"{text(eventbridge(a))}\n{text(eventbridge(b))}",
    "put-events": lambda a, b: text(
        {"Entries": [{"DetailType": "x", "Detail": text(one)} for one in (a, b)]}
    ),
    "SNS": lambda a, b: text([sns(a), sns(b)]),
    "SNS in lambda": lambda a, b: text({"Records": [{"Sns": sns(a)}, {"Sns": sns(b)}]}),
    "SQS": lambda a, b: text(sqs(a, b)),
    "SNS in SQS": lambda a, b: text(sqs(sns(a), sns(b))),
    "EventBridge in SNS": lambda a, b: text([sns(eventbridge(a)), sns(eventbridge(b))]),
    "EventBridge in SNS in SQS": lambda a, b: text(sqs(sns(eventbridge(a)), sns(eventbridge(b)))),
    "CloudEvents": lambda a, b: text(
        [{"specversion": "1.0", "id": "x", "type": "y", "data": one} for one in (a, b)]
    ),
    "CloudEvents, data as text": lambda a, b: text(
        [{"specversion": "1.0", "id": "x", "type": "y", "data": text(one)} for one in (a, b)]
    ),
    "CloudEvents, data in Base64": lambda a, b: text(
        [
            {
                "specversion": "1.0",
                "data_base64": base64.b64encode(text(one).encode()).decode(),
            }
            for one in (a, b)
        ]
    ),
    "CloudTrail Lake, eventJson": lambda a, b: text(
        {"QueryStatus": "FINISHED", "QueryResultRows": [[{"eventJson": text(a)}], [{"eventJson": text(b)}, {"x": "y"}]]}
    ),
    "Firehose in a log event": lambda a, b: text(
        {"logEvents": [{"id": "1", "message": f"{text(a)}{text(b)}"}]}
    ),
}  # fmt: skip
ENCODINGS = {
    "UTF-8": lambda content: content.encode(),
    "UTF-8 with BOM": lambda content: content.encode("utf-8-sig"),
    "UTF-16": lambda content: content.encode("utf-16"),
    "UTF-16 LE": lambda content: content.encode("utf-16-le"),
    "UTF-16 BE": lambda content: content.encode("utf-16-be"),
    "Windows-1252": lambda content: content.encode("cp1252"),
    "CRLF": lambda content: content.replace("\n", "\r\n").encode(),
    "CR": lambda content: content.replace("\n", "\r").encode(),
    "gzip": lambda content: gzip.compress(content.encode("utf-16")),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("form", MAKERS, ids=lambda form: form.FORMAT.source)
def test_a_record_is_read_in_any_wrapping_and_encoding(tmp_path, form, wrapping):
    make, who = MAKERS[form], "resource" if form is autoscaling else "actor"
    content, file = WRAPPINGS[wrapping](make("e-1"), make("e-2")), tmp_path / "000000"
    for encoding, encode in ENCODINGS.items():
        file.write_bytes(encode(content))
        reading = form.read([file])
        assert reading.set_aside.is_empty(), encoding
        assert reading.rows.select("change_id", who).rows() == [
            ("e-1", "jürgen"),
            ("e-2", "jürgen"),
        ], encoding
        assert reading.seen["records"].sum() == 2


def put(folder: Path, content: object, name: str = "a.json") -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else text(content))
    return file


@pytest.mark.parametrize(
    ("content", "count", "what"),
    [
        ({"Events": [{"EventId": f"e{n}", "EventName": "x"} for n in range(5)]}, 5, "lookup-events"),
        ({"logEvents": [{"timestamp": 1, "message": "2 111 eni-1 REJECT"}] * 3}, 3, "CloudWatch"),
        ({"detail-type": "EC2 Instance State-change Notification", "detail": {"a": [{}, {}]}}, 1, "EventBridge"),
        (sqs({"s3Bucket": "b", "s3ObjectKey": ["k"]}, "hello"), 2, "SQS"),
        ([sns("hello")], 1, "SNS"),
        ({"Message": "x", "TopicArn": "y"}, 1, "SNS"),
        ({"results": [[{"field": "@message", "value": "x"}, {"field": "@ptr", "value": "y"}]] * 4}, 4, "Insights"),
        ({"QueryResultRows": [[{"eventName": "x"}, {"n": "7"}]] * 6}, 6, "eventTime"),
        ({"Records": []}, 0, ""),
        ({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL MESSAGE"}]}, 0, ""),
    ],
)  # fmt: skip
def test_what_holds_no_record_is_told_with_what_it_is_and_how_many(tmp_path, content, count, what):
    reading = cloudtrail.read([put(tmp_path, content)])
    assert reading.rows.is_empty()
    assert reading.set_aside["records"].sum() == count
    assert all(what in reason for reason in reading.set_aside["reason"])


def test_events_beside_what_holds_none_are_read_and_the_others_counted(tmp_path):
    log = subscription(event("e-1"), event("e-2"))
    log["logEvents"].insert(1, {"id": "x", "timestamp": 1, "message": "no JSON {"})
    reading = cloudtrail.read([put(tmp_path, log)])
    assert reading.rows["change_id"].to_list() == ["e-1", "e-2"]
    assert reading.set_aside.select("place", "reason", "records").rows() == [
        ("record 2", "no CloudTrail record: a log event of CloudWatch Logs", 1)
    ]


def test_events_within_the_parameters_of_a_call_are_no_events(tmp_path):
    inner = {"entries": [{"detail": text(event("inner"))}], "Records": [event("inner too")]}
    reading = cloudtrail.read([put(tmp_path, {"Records": [event(requestParameters=inner)]})])
    assert reading.rows["change_id"].to_list() == ["e-1"]


def test_what_cloudtrail_writes_besides_management_events_is_told_once_and_is_no_fault(tmp_path):
    insight = {
        "eventTime": "2026-10-14T03:00:30Z",
        "eventID": "i",
        "eventCategory": "Insight",
        "insightDetails": {},
    }
    digest = {"digestStartTime": "x", "digestEndTime": "y", "logFiles": [{"s3Bucket": "b"}] * 3}
    reading = cloudtrail.read(
        [
            put(tmp_path, {"Records": [insight, insight, event()]}, "a.json"),
            put(tmp_path, {"Records": [event("d", eventCategory="Data")]}, "b.json"),
            put(tmp_path, digest, "c.json"),
        ]
    )  # fmt: skip
    assert reading.rows["change_id"].to_list() == ["e-1"]
    assert reading.set_aside.is_empty()
    assert reading.notes == tuple(
        f"CloudTrail's {what} are no changes: they were left out"
        for what in ("Insight events", "Data events", "digests")
    )


IDENTITY = (
    "{type=AssumedRole, principalid=A:dana@acme.example, "
    "arn=arn:aws:sts::1:assumed-role/Admins/dana@acme.example, accountid=1, invokedby=null, "
    "accesskeyid=null, username=null, sessioncontext={attributes={mfaauthenticated=true}}}"
)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("title", [str, str.lower])
def test_rows_of_athena_and_of_cloudtrail_lake_are_read(tmp_path, mark, title):
    row = event(
        userIdentity=IDENTITY,
        eventTime="2026-10-14 03:00:30.000",
        requestParameters='{"instanceId": "i-1", "instanceType": {"value": "m5.4xlarge"}}',
        readOnly="false",
    )
    row = {title(name): str(value) for name, value in row.items()}
    stream = io.StringIO()
    table = csv.DictWriter(stream, list(row), delimiter=mark)
    table.writeheader()
    table.writerows([row, {**row, title("eventID"): "e-2"}])
    lake = {"QueryResultRows": [[{name: value} for name, value in event(**row).items()]]}
    files = [put(tmp_path, stream.getvalue(), "a.csv")]
    if title is str:
        files.append(put(tmp_path, {**lake, "QueryStatus": "FINISHED"}, "b.json"))
    reading = cloudtrail.read(files)
    assert reading.set_aside.is_empty()
    assert reading.rows.select("change_id", "time", "actor", "actor_kind", "summary").rows() == [
        (
            ident,
            datetime(2026, 10, 14, 3, 0, 30, tzinfo=UTC),
            "dana@acme.example",
            "person",
            "ModifyInstanceAttribute i-1",
        )
        for ident in ("e-1", "e-2")
    ]


def test_whole_events_in_a_column_of_a_csv_are_read(tmp_path):
    stream = io.StringIO()
    table = csv.writer(stream)
    table.writerows(
        [["eventJson", "n"], [text(event("e-1")), "1"], [text(event("e-2")), "2"], ["x", "3"]]
    )
    reading = cloudtrail.read([put(tmp_path, stream.getvalue(), "a.csv")])
    assert reading.rows["change_id"].to_list() == ["e-1", "e-2"]
    assert reading.set_aside["place"].to_list() == ["line 4"]


@pytest.mark.parametrize("form", MAKERS, ids=lambda form: form.FORMAT.source)
def test_places_are_those_of_the_file(tmp_path, form):
    make = MAKERS[form]
    good, bad = text(make("e-1")), "{broken"
    pretty = json.dumps(make("e-2"), indent=1)
    content = f"{good}\n{bad}\n\n{pretty}\n[5]\n{good}{text(make('e-3'))} rest\n{bad}"
    reading = form.read([put(tmp_path, content)])
    assert reading.rows["change_id"].to_list() == ["e-1", "e-2", "e-3"]
    at = 5 + pretty.count("\n")
    assert reading.set_aside["place"].to_list() == [
        "line 2",
        f"line {at}, record 1",
        f"line {at + 1}, document 3",
        f"line {at + 2}",
    ]


def test_looking_for_the_end_of_broken_documents_takes_linear_time(tmp_path, monkeypatch):
    looked = []
    end_of = records._end_of
    monkeypatch.setattr(
        records,
        "_end_of",
        lambda data, start: looked.append(len(data) - start) or end_of(data, start),
    )
    content = text(event()) + "\n" + '{"a": [\n' * 20_000
    reading = cloudtrail.read([put(tmp_path, content)])
    assert reading.rows.height == 1
    assert reading.set_aside["records"].sum() == 20_000
    assert sum(looked) <= 2 * 5 * len(content)  # the file is gone through twice


def test_wrappings_in_one_another_end_somewhere(tmp_path):
    deep = event()
    for _ in range(30):
        deep = {"Message": text(deep), "TopicArn": "x"} if len(text(deep)) < 10**6 else deep
    nested = "[" * 5_000 + "]" * 5_000
    for content in (deep, nested, '{"a":' * 5_000 + "1" + "}" * 5_000):
        reading = cloudtrail.read([put(tmp_path, content)])
        assert reading.rows.is_empty()
        assert reading.set_aside["records"].sum() <= 1


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "bill.csv").write_text(BILL)
    (tmp_path / "costwhy.toml").write_text(TOML)
    (tmp_path / "trail").mkdir()
    return tmp_path


def changes(place: Path) -> list[tuple]:
    return open_lake(place).table("changes").select("change_id", "delivery").rows()


def test_an_event_in_two_files_counts_once_and_stays_when_one_of_them_goes(workspace):
    trail = workspace / "trail"
    put(trail, {"Records": [event("e-1"), event("e-2")]}, "a.json")
    put(trail, lookup(event("e-2"), event("e-3")), "b.json")
    ingest(read_workspace(workspace))
    first = [
        ("e-1", "cloudtrail:trail/a.json"),
        ("e-2", "cloudtrail:trail/a.json"),
        ("e-3", "cloudtrail:trail/b.json"),
    ]
    assert changes(workspace) == first
    put(trail, {"Records": [event("e-1")]}, "a.json")  # e-2 is no longer in the first file
    ingest(read_workspace(workspace))
    assert sorted(changes(workspace)) == [
        ("e-1", "cloudtrail:trail/a.json"),
        ("e-2", "cloudtrail:trail/b.json"),
        ("e-3", "cloudtrail:trail/b.json"),
    ]


def test_of_an_event_in_several_deliveries_the_one_known_first_counts(workspace):
    trail = workspace / "trail"
    put(trail, lookup(event("e-1")), "a.json")
    put(trail, {"Records": [event("e-1")]}, "1_CloudTrail_eu_20261014T0400Z_x.json")
    put(trail, {"Records": [event("e-1")]}, "1_CloudTrail_eu_20261014T0305Z_y.json")
    ingest(read_workspace(workspace))
    [row] = open_lake(workspace).table("changes").iter_rows(named=True)
    assert row["known_at"] == datetime(2026, 10, 14, 3, 5, tzinfo=UTC)


def test_a_file_that_cannot_be_read_leaves_the_others_and_the_bill(workspace):
    put(workspace / "trail", {"Records": [event()]}, "a.json")
    put(workspace / "trail", "no JSON at all", "b.json")
    report = ingest(read_workspace(workspace))
    assert [row[0] for row in changes(workspace)] == ["e-1"]
    assert open_lake(workspace).table("hourly")["EffectiveCost"].sum() == 1.0
    assert any("trail/b.json was set aside" in message for message in report.messages)
    assert open_lake(workspace).table("set_aside")["file"].to_list() == ["trail/b.json"]
