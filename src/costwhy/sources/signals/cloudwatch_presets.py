"""Which CloudWatch metrics say what a service did: by namespace, as data.

Each measure names the metric, its statistic over the hour, and the exact dimensions of the series
that count: CloudWatch keeps the same requests under several sets of dimensions. Source: AWS, the
pages of metrics and dimensions of each service.
"""

from dataclasses import dataclass

from costwhy.behaviours import CAPACITY, RETRIES


@dataclass(frozen=True)
class Measure:
    """One metric of CloudWatch.

    becomes  calls, retries, errors, bytes, capacity
    scale    its value is multiplied by it
    """

    becomes: str
    metric: str
    statistic: str = "Sum"
    scale: float = 1.0


@dataclass(frozen=True)
class Series:
    """Measures of one namespace under one set of dimensions.

    service   the dimension that names the service, where no tag does
    caller    the dimension that names the caller; empty: the calls count as from outside
    resource  where the tags are: AWS's service and the resource part of the ARN, filled from the
              dimensions; null: nowhere
    """

    namespace: str
    dimensions: tuple[str, ...]
    service: str
    measures: tuple[Measure, ...]
    caller: str = ""
    resource: tuple[str, str] | None = None


def _all(
    becomes: str, *metrics: str, statistic: str = "Sum", scale: float = 1.0
) -> tuple[Measure, ...]:
    return tuple(Measure(becomes, metric, statistic, scale) for metric in metrics)


_OWN = (
    *(measure for name in ("calls", RETRIES, "errors", "bytes") for measure in _all(name, name)),
    *_all(CAPACITY, CAPACITY, statistic="Average"),
)

PRESETS: dict[str, tuple[Series, ...]] = {
    # what applications publish themselves: the only ones that know callers and retries
    "costwhy": (
        Series("costwhy", ("service", "caller"), "service", _OWN, caller="caller"),
        Series("costwhy", ("service",), "service", _OWN),
    ),
    "alb": (
        Series(
            "AWS/ApplicationELB",
            ("LoadBalancer", "TargetGroup"),
            "TargetGroup",
            (
                *_all("calls", "RequestCount"),
                *_all("errors", "HTTPCode_Target_5XX_Count"),
                *_all(CAPACITY, "HealthyHostCount", statistic="Average"),
            ),
            resource=("elasticloadbalancing", "{TargetGroup}"),
        ),
        Series(
            "AWS/ApplicationELB",
            ("LoadBalancer",),
            "LoadBalancer",
            _all("bytes", "ProcessedBytes"),
            resource=("elasticloadbalancing", "loadbalancer/{LoadBalancer}"),
        ),
    ),
    "apigateway": (
        Series(
            "AWS/ApiGateway",
            ("ApiId",),  # HTTP APIs
            "ApiId",
            (*_all("calls", "Count"), *_all("errors", "5xx"), *_all("bytes", "DataProcessed")),
            resource=("apigateway", "/apis/{ApiId}"),
        ),
        Series(
            "AWS/ApiGateway",
            ("ApiName",),
            "ApiName",
            (*_all("calls", "Count"), *_all("errors", "5XXError")),
        ),  # REST APIs
    ),
    "lambda": (
        Series(
            "AWS/Lambda",
            ("FunctionName",),
            "FunctionName",
            (
                *_all("calls", "Invocations"),
                *_all("errors", "Errors"),
                *_all(CAPACITY, "ConcurrentExecutions", statistic="Average"),
            ),
            resource=("lambda", "function:{FunctionName}"),
        ),
    ),
    # a message that is received and not deleted is delivered again
    "sqs": (
        Series(
            "AWS/SQS",
            ("QueueName",),
            "QueueName",
            (
                *_all("calls", "NumberOfMessagesReceived"),
                *_all(RETRIES, "NumberOfMessagesReceived"),
                *_all(RETRIES, "NumberOfMessagesDeleted", scale=-1.0),
                *_all("bytes", "SentMessageSize"),
            ),
            resource=("sqs", "{QueueName}"),
        ),
    ),
    # every SDK repeats a throttled request; latency is recorded once for each one that succeeded
    "dynamodb": (
        Series(
            "AWS/DynamoDB",
            ("TableName", "Operation"),
            "TableName",
            (
                *_all("calls", "SuccessfulRequestLatency", statistic="SampleCount"),
                *_all("calls", "ThrottledRequests", "SystemErrors"),
                *_all(RETRIES, "ThrottledRequests"),
                *_all("errors", "ThrottledRequests", "SystemErrors"),
            ),
            resource=("dynamodb", "table/{TableName}"),
        ),
    ),
    "nat": (
        Series(
            "AWS/NATGateway",
            ("NatGatewayId",),
            "NatGatewayId",
            (
                *_all("calls", "ConnectionAttemptCount"),
                *_all("errors", "ErrorPortAllocation"),
                *_all("bytes", "BytesInFromSource", "BytesInFromDestination"),
            ),
            resource=("ec2", "natgateway/{NatGatewayId}"),
        ),
    ),
    # each running task reports its CPU once a minute
    "ecs": (
        Series(
            "AWS/ECS",
            ("ClusterName", "ServiceName"),
            "ServiceName",
            _all(CAPACITY, "CPUUtilization", statistic="SampleCount", scale=1 / 60),
            resource=("ecs", "service/{ClusterName}/{ServiceName}"),
        ),
    ),
    "ec2": (
        Series(
            "AWS/EC2",
            ("AutoScalingGroupName",),
            "AutoScalingGroupName",
            _all("bytes", "NetworkIn", "NetworkOut"),
        ),
        Series(
            "AWS/AutoScaling",
            ("AutoScalingGroupName",),
            "AutoScalingGroupName",
            _all(CAPACITY, "GroupInServiceInstances", statistic="Average"),
        ),
    ),
}
USUAL = tuple(PRESETS)  # All of them; where two know the calls of one service, the first one counts
