"""What the template promises, checked in what SAM makes of it. Run by the Python that SAM is installed in."""

import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from stack import ROOT, TEMPLATE, Stack

plain = Stack()
managed = Stack(ManagedInstances="yes")

# Every value that changes what is made.
CHOICES = {
    "ExistingTable": ["", "restored"],
    "AllowedOrigins": ["", "https://example.com"],
    "AccessSecret": ["", "arn:aws:secretsmanager:us-east-1:000000000000:secret:keys-abcdef"],
    "WithPage": ["yes", "no"],
    "AddressRequests": [0, 1000],
    "WebAcl": ["", "arn:aws:wafv2:us-east-1:000000000000:global/webacl/mine/id"],
    "PublishConcurrency": [0, 50],
    "SubscribeConcurrency": [0, 400],
    "ManagedInstances": ["no", "yes"],
    "AlarmTopic": ["", "arn:aws:sns:us-east-1:000000000000:alarms"],
}


def listed(value):
    return value if isinstance(value, list) else [value]


def each_parameter_that_changes_what_is_made_is_tried():
    compared = set(re.findall(r'{"Fn::Equals": \[{"Ref": "(\w+)"}', json.dumps(TEMPLATE["Conditions"])))
    compared |= set(re.findall(r'{"Fn::Join": \["", {"Ref": "(\w+)"}', json.dumps(TEMPLATE["Conditions"])))
    assert compared == set(CHOICES), compared ^ set(CHOICES)


def every_combination_refers_only_to_what_it_makes():
    for values in itertools.product(*CHOICES.values()):
        stack = Stack(**dict(zip(CHOICES, values)))
        unknown = stack.references() - set(stack.resources) - set(stack.parameters)
        assert not unknown, f"{values}: {unknown}"
        assert len(stack.of_type("AWS::Lambda::Function")) == 2, values


def every_pair_of_choices_passes_the_linter():
    """The linter looks at both sides of each condition of the whole template; here at what comes out in the end."""
    cases = [[values[0] for values in CHOICES.values()], [values[1] for values in CHOICES.values()]]
    # Each half of the parameters by a bit of their index: so any two of them are seen different, and alike.
    for bit in (1, 2, 4, 8):
        cases.append([values[bool(index & bit)] for index, values in enumerate(CHOICES.values())])
        cases.append([values[not index & bit] for index, values in enumerate(CHOICES.values())])
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, case in enumerate(cases):
            file = Path(folder) / f"{number}.json"
            file.write_text(json.dumps(Stack(**dict(zip(CHOICES, case))).decided_template()))
            files.append(str(file))
        # Parameters whose condition is decided are used no more.
        linter = [str(Path(sys.executable).parent / "cfn-lint"), "--ignore-checks", "W2001", "--", *files]
        linted = subprocess.run(linter, capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout[:3000]


def what_can_not_be_made_is_refused_before_anything_is():
    assert Stack("eu-west-1", AddressRequests=100).refused() and not Stack(AddressRequests=100).refused()
    assert Stack(AddressRequests=100, WithPage="no").refused()


def every_region_knows_what_the_template_names():
    """CloudFormation refuses a template with a kind of resource that the region lacks, made or not."""
    known = {"af-south-1", "ap-southeast-3", "ca-west-1", "eu-central-1", "eu-north-1", "us-west-1"}
    kinds = {resource["Type"] for resource in TEMPLATE["Resources"].values()}
    for region, kind in itertools.product(known, kinds):
        PROVIDER_SCHEMA_MANAGER.get_resource_schema(region, kind)


def no_policy_has_a_wildcard():
    count = 0
    for name, statement in [*plain.statements(), *managed.statements()]:
        for action in listed(statement["Action"]):
            assert "*" not in action, f"{name} allows {action}"
        for resource in listed(statement.get("Resource", [])):
            text = str(resource)
            # A bucket's objects are named so, and nothing else here.
            assert "*" not in text or text == "{'Fn::Sub': '${Bucket.Arn}/*'}", f"{name} is for {text}"
        count += 1
    assert count >= 14, count
    with_policies = [name for name, r in managed.resources.items() if "ManagedPolicyArns" in r["Properties"]]
    assert with_policies == ["InstancesOperatorRole"], "Lambda starts the instances by a policy of AWS's own"


def each_function_may_do_what_it_needs_on_the_one_table():
    expected = {
        "PublishRole": ["dynamodb:UpdateItem", "dynamodb:PutItem"],
        "SubscribeRole": ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem"],
    }
    given = {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}"}
    for stack, table in [(plain, {"Fn::GetAtt": ["Table", "Arn"]}), (Stack(ExistingTable="restored"), given)]:
        for role, actions in expected.items():
            allowed = [s for name, s in stack.statements() if name == role and "dynamodb" in str(s["Action"])]
            assert [s["Action"] for s in allowed] == [actions], allowed
            assert allowed[0]["Resource"] == table, allowed


def the_table_is_the_one_that_create_table_makes():
    table = plain.properties("Table")
    client = (ROOT / "functions/dynamodb/src/upkeep.rs").read_text()
    made = re.findall(r'\.attribute_definitions\(attribute\("(\w+)", ScalarAttributeType::(\w)\)', client)
    assert made == [(a["AttributeName"], a["AttributeType"]) for a in table["AttributeDefinitions"]], made
    made = re.findall(r'\.key_schema\(key\("(\w+)", KeyType::(\w+)\)', client)
    assert [(name, kind.upper()) for name, kind in made] == [(k["AttributeName"], k["KeyType"]) for k in table["KeySchema"]], made
    assert re.findall(r'attribute_name\("(\w+)"\)\.enabled\(true\)', client) == [table["TimeToLiveSpecification"]["AttributeName"]]
    assert table["BillingMode"] == "PAY_PER_REQUEST" and "BillingMode::PayPerRequest" in client
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def the_table_outlives_its_stack_but_not_a_first_deployment_that_failed():
    assert plain.resources["Table"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert plain.resources["Table"]["UpdateReplacePolicy"] == "Retain"
    assert "Table" not in Stack(ExistingTable="restored").resources


def no_timeout_is_shorter_than_what_it_waits_for():
    assert plain.properties("Publish")["Timeout"] == 10
    assert plain.properties("Subscribe")["Timeout"] == managed.properties("SubscribeManaged")["Timeout"] == 29
    assert plain.properties("PublishIntegration")["TimeoutInMillis"] > 10_000
    assert 29_000 < plain.properties("SubscribeIntegration")["TimeoutInMillis"] <= 30_000
    api = origin("api")
    assert 30 < api["CustomOriginConfig"]["OriginReadTimeout"] <= 60 and api["ConnectionAttempts"] == 1


def origin(name):
    origins = plain.properties("Distribution")["DistributionConfig"]["Origins"]
    return next(origin for origin in origins if origin["Id"] == name)


def nothing_of_the_api_is_cached():
    distribution = plain.properties("Distribution")["DistributionConfig"]
    behaviors = {behavior["PathPattern"]: behavior for behavior in distribution["CacheBehaviors"]}
    assert set(behaviors) == {"/pub", "/sub"}
    for behavior in behaviors.values():
        assert behavior["CachePolicyId"] == {"Ref": "NoCache"}
        assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-38738e2966ac", "all but Host"
        assert "POST" in behavior["AllowedMethods"]
    policy = plain.properties("NoCache")["CachePolicyConfig"]
    assert policy["MinTTL"] == policy["DefaultTTL"] == 0
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    errors = distribution["CustomErrorResponses"]
    assert {400, 403, 404, 405, 500, 502, 503, 504} <= {error["ErrorCode"] for error in errors}
    assert all(error["ErrorCachingMinTTL"] == 0 for error in errors)


def only_cloudfront_knows_the_secret_and_the_functions_know_the_one_before_too():
    said = origin("api")["OriginCustomHeaders"]
    assert said == [{"HeaderName": "linger-origin", "HeaderValue": {"Ref": "OriginSecret"}}]
    assert '"linger-origin"' in (ROOT / "functions/host/src/origin.rs").read_text()
    for stack in (plain, managed):
        for function in stack.of_type("AWS::Lambda::Function").values():
            known = function["Properties"]["Environment"]["Variables"]["LINGER_ORIGIN_SECRETS"]
            assert known == {"Fn::Sub": "${OriginSecret},${OriginSecretBefore}"}
        # It learns the new one after both functions have.
        tags = str(stack.properties("Distribution")["Tags"])
        assert all(function in tags for function in stack.of_type("AWS::Lambda::Function"))
    assert all(TEMPLATE["Parameters"][name]["NoEcho"] for name in ("OriginSecret", "OriginSecretBefore"))
    for function in Stack(WithPage="no").of_type("AWS::Lambda::Function").values():
        assert "LINGER_ORIGIN_SECRETS" not in function["Properties"]["Environment"]["Variables"]


def who_may_do_what_is_told_to_both_functions_and_a_secret_is_no_parameter():
    secret = CHOICES["AccessSecret"][1]
    for stack in (Stack(AccessSecret=secret), Stack(AccessSecret=secret, ManagedInstances="yes")):
        for function in stack.of_type("AWS::Lambda::Function").values():
            variables = function["Properties"]["Environment"]["Variables"]
            assert variables["LINGER_ACCESS_SECRET"] == {"Fn::Sub": "{{resolve:secretsmanager:${AccessSecret}:SecretString}}"}
            for name in ("Keys", "Issuer", "Audience"):
                assert variables[f"LINGER_ACCESS_{name.upper()}"] == {"Ref": f"Access{name}"}
    for function in plain.of_type("AWS::Lambda::Function").values():
        assert "LINGER_ACCESS_SECRET" not in function["Properties"]["Environment"]["Variables"]
    cors = Stack(AllowedOrigins="https://example.com").properties("Api")["CorsConfiguration"]
    assert "authorization" in cors["AllowHeaders"] and "www-authenticate" in cors["ExposeHeaders"]
    pattern = TEMPLATE["Parameters"]["AccessSecret"]["AllowedPattern"]
    assert re.fullmatch(pattern, secret) and not re.fullmatch(pattern, '{"keys": []}'), "no secret is given in clear"


def what_is_expected_of_tokens_is_refused_without_keys():
    for name in ("AccessIssuer", "AccessAudience"):
        assert Stack(**{name: "me"}).refused()
        assert not Stack(**{name: "me"}, AccessKeys='{"keys":[]}').refused()
        assert not Stack(**{name: "me"}, AccessSecret=CHOICES["AccessSecret"][1]).refused()


def names_of_the_whole_account_are_short_and_of_this_stack_alone():
    unique = {"Fn::Sub": ["linger-${Id}", {"Id": {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}}]}
    assert plain.properties("OriginAccess")["OriginAccessControlConfig"]["Name"] == unique
    assert plain.properties("PageHeaders")["ResponseHeadersPolicyConfig"]["Name"] == unique
    assert plain.properties("NoCache")["CachePolicyConfig"]["Name"] == unique
    assert len("linger-00000000-0000-0000-0000-000000000000") <= 64


def the_page_has_the_policy_that_its_own_html_has():
    headers = plain.properties("PageHeaders")["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    sent = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"].split("; ")
    html = (ROOT / "static/index.html").read_text()
    own = re.search(r'content="(default-src [^"]+)"', html).group(1).split("; ")
    # A <meta> can't forbid frames; and it allows a server elsewhere over plain HTTP.
    assert [part for part in sent if not part.startswith("frame-ancestors")] == [part.replace(" http:", "") for part in own]
    assert "unsafe" not in str(sent) and "frame-ancestors 'none'" in sent
    assert {"ContentTypeOptions", "StrictTransportSecurity", "FrameOptions", "ReferrerPolicy"} <= set(headers)


def the_bucket_is_private():
    assert all(plain.properties("Bucket")["PublicAccessBlockConfiguration"].values())
    principals = [s["Principal"] for name, s in plain.statements() if name == "BucketPolicy"]
    assert principals == [{"Service": "cloudfront.amazonaws.com"}]


def without_a_page_nothing_of_cloudfront_is_made():
    bare = Stack(WithPage="no", WebAcl=CHOICES["WebAcl"][1])
    assert not [name for name, r in bare.resources.items() if "CloudFront" in r["Type"] or "S3" in r["Type"] or "WAF" in r["Type"]]
    assert bare.outputs["ApiUrl"]["Value"] == {"Fn::GetAtt": ["Api", "ApiEndpoint"]} and "Page" not in bare.outputs


def both_functions_are_alike():
    for stack in (plain, managed):
        for function in stack.of_type("AWS::Lambda::Function").values():
            variables = function["Properties"]["Environment"]["Variables"]
            assert variables["LINGER_RETENTION"] == {"Ref": "Retention"}
            assert variables["LINGER_TABLE"] == {"Ref": "Table"}
            logging = function["Properties"]["LoggingConfig"]
            assert (logging["LogFormat"], logging["SystemLogLevel"]) == ("JSON", "WARN") and "LogGroup" in logging


def managed_instances_hold_many_polls_in_a_process_and_reserve_nothing():
    function = Stack(ManagedInstances="yes", SubscribeConcurrency=400).properties("SubscribeManaged")
    config = function["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert config["PerExecutionEnvironmentMaxConcurrency"] >= 64
    assert function["MemorySize"] >= 2048 * config["ExecutionEnvironmentMemoryGiBPerVCpu"] / 2
    assert function["PublishToLatestPublished"] is True and "ReservedConcurrentExecutions" not in function
    endpoints = {e["Properties"]["ServiceName"]["Fn::Sub"].split(".")[-1] for e in managed.of_type("AWS::EC2::VPCEndpoint").values()}
    assert endpoints == {"dynamodb", "logs"}
    assert "Subscribe" not in managed.resources and not plain.of_type("AWS::EC2::VPC")
    assert managed.properties("SubscribeIntegration")["IntegrationUri"] == {"Fn::GetAtt": ["SubscribeManaged", "Arn"]}
    assert managed.properties("SubscribePermission")["FunctionName"] == {"Ref": "SubscribeManaged"}


def an_alarm_goes_off_for_what_breaks():
    for stack, subscribe in ((plain, "Subscribe"), (managed, "SubscribeManaged")):
        watched = set()
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
            for dimension in alarm["Properties"]["Dimensions"]:
                watched.add((alarm["Properties"]["MetricName"], dimension["Value"]["Ref"]))
        for function in ("Publish", subscribe):
            assert {("Errors", function), ("Throttles", function)} <= watched, watched
        assert {("5xx", "Api"), ("ReadThrottleEvents", "Table"), ("WriteThrottleEvents", "Table")} <= watched, watched
    reserved = Stack(SubscribeConcurrency=400, AlarmTopic="arn:aws:sns:us-east-1:000000000000:alarms")
    high = reserved.properties("SubscribeConcurrencyHigh")
    assert high["Metrics"][0]["Expression"] == {"Fn::Sub": "100 * held / ${SubscribeConcurrency}"} and high["Threshold"] == 80
    assert all(a["Properties"]["AlarmActions"] == [{"Ref": "AlarmTopic"}] for a in reserved.of_type("AWS::CloudWatch::Alarm").values())


def the_api_says_why_a_function_did_not_answer():
    log = json.loads(plain.properties("ApiStage")["AccessLogSettings"]["Format"])
    assert log["integration"] == "$context.integrationErrorMessage"


def a_retention_that_the_functions_would_not_start_with_is_refused():
    pattern = TEMPLATE["Parameters"]["Retention"]["AllowedPattern"]
    for text in ("24h", "90", "90s", "30m", "7d", "999d", "3650"):
        assert re.fullmatch(pattern, text), text
    for text in ("", "0", "0s", "00", "1000d", "9999d", "99999h", "9999999m", "999999999", "1w", "-1", "soon", "1.5h"):
        assert not re.fullmatch(pattern, text), text


checks = [value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == "__main__"]
helpers = {listed, origin}
failed = 0
for check in [check for check in checks if check not in helpers]:
    try:
        check()
        print("ok", check.__name__)
    except Exception as error:
        failed += 1
        print("not ok", check.__name__, repr(error))
print(f"# pass {len(checks) - len(helpers) - failed}")
print(f"# fail {failed}")
sys.exit(failed > 0)
