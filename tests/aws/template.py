"""What the template promises, checked in what SAM makes of it. Run by the Python that SAM is installed in."""

import re
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
source = yaml_parse((ROOT / "template.yaml").read_text())
for function in ("Publish", "Subscribe"):
    # Where `sam package` would put it.
    source["Resources"][function]["Properties"]["CodeUri"] = "s3://bucket/key"
template = Translator({}, Parser()).translate(source, {})
resources = template["Resources"]


def properties(name):
    return resources[name]["Properties"]


def of_type(kind):
    return {name: resource for name, resource in resources.items() if resource["Type"] == kind}


def statements():
    for name, resource in resources.items():
        found = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in found.get("Policies", [])]
        documents += [found[key] for key in ("PolicyDocument", "AssumeRolePolicyDocument") if key in found]
        for document in documents:
            for statement in document["Statement"]:
                yield name, statement


def listed(value):
    return value if isinstance(value, list) else [value]


EXISTING_TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTable}"


def either(made, existing):
    """What stands there when the stack makes its table, and when it is given one."""
    return {"Fn::If": ["MakesTable", made, existing]}


def no_policy_has_a_wildcard():
    count = 0
    for name, statement in statements():
        for action in listed(statement["Action"]):
            assert "*" not in action, f"{name} allows {action}"
        for resource in listed(statement.get("Resource", [])):
            text = str(resource)
            # A bucket's objects are named so, and nothing else here.
            assert "*" not in text or text == "{'Fn::Sub': '${Bucket.Arn}/*'}", f"{name} is for {text}"
        count += 1
    assert count >= 7, count
    assert not any("ManagedPolicyArns" in resource["Properties"] for resource in resources.values())


def each_function_may_do_what_it_needs_on_the_one_table():
    expected = {
        "PublishRole": ["dynamodb:UpdateItem", "dynamodb:PutItem"],
        "SubscribeRole": ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem"],
    }
    for role, actions in expected.items():
        allowed = [s for name, s in statements() if name == role and "dynamodb" in str(s["Action"])]
        assert [s["Action"] for s in allowed] == [actions], allowed
        assert allowed[0]["Resource"] == either({"Fn::GetAtt": ["Table", "Arn"]}, {"Fn::Sub": EXISTING_TABLE}), allowed


def the_table_is_the_one_that_create_table_makes():
    table = properties("Table")
    client = (ROOT / "functions/dynamodb/src/upkeep.rs").read_text()
    made = re.findall(r'\.attribute_definitions\(attribute\("(\w+)", ScalarAttributeType::(\w)\)', client)
    assert made == [(a["AttributeName"], a["AttributeType"]) for a in table["AttributeDefinitions"]], made
    made = re.findall(r'\.key_schema\(key\("(\w+)", KeyType::(\w+)\)', client)
    assert [(name, kind.upper()) for name, kind in made] == [(k["AttributeName"], k["KeyType"]) for k in table["KeySchema"]], made
    assert re.findall(r'attribute_name\("(\w+)"\)\.enabled\(true\)', client) == [table["TimeToLiveSpecification"]["AttributeName"]]
    assert table["BillingMode"] == "PAY_PER_REQUEST" and "BillingMode::PayPerRequest" in client
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert resources["Table"]["DeletionPolicy"] == "Retain" and resources["Table"]["Condition"] == "MakesTable"


def no_timeout_is_shorter_than_what_it_waits_for():
    assert properties("Publish")["Timeout"] == 10 and properties("Subscribe")["Timeout"] == 29
    assert properties("PublishIntegration")["TimeoutInMillis"] > 10_000
    assert 29_000 < properties("SubscribeIntegration")["TimeoutInMillis"] <= 30_000
    origins = properties("Distribution")["DistributionConfig"]["Origins"]
    api = next(origin for origin in origins if origin["Id"] == "api")
    assert 30 < api["CustomOriginConfig"]["OriginReadTimeout"] <= 60 and api["ConnectionAttempts"] == 1


def nothing_of_the_api_is_cached():
    distribution = properties("Distribution")["DistributionConfig"]
    behaviors = {behavior["PathPattern"]: behavior for behavior in distribution["CacheBehaviors"]}
    assert set(behaviors) == {"/pub", "/sub"}
    for behavior in behaviors.values():
        assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "CachingDisabled"
        assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-38738e2966ac", "all but Host"
        assert "POST" in behavior["AllowedMethods"]
    errors = distribution["CustomErrorResponses"]
    assert {400, 403, 404, 405, 500, 502, 503, 504} <= {error["ErrorCode"] for error in errors}
    assert all(error["ErrorCachingMinTTL"] == 0 for error in errors)


def the_page_has_the_policy_that_its_own_html_has():
    headers = properties("PageHeaders")["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    sent = headers["ContentSecurityPolicy"]["ContentSecurityPolicy"].split("; ")
    html = (ROOT / "static/index.html").read_text()
    own = re.search(r'content="(default-src [^"]+)"', html).group(1).split("; ")
    # A <meta> can't forbid frames; and it allows an emulator elsewhere over plain HTTP.
    assert [part for part in sent if not part.startswith("frame-ancestors")] == [part.replace(" http:", "") for part in own]
    assert "unsafe" not in str(sent) and "frame-ancestors 'none'" in sent
    assert {"ContentTypeOptions", "StrictTransportSecurity", "FrameOptions", "ReferrerPolicy"} <= set(headers)


def the_bucket_is_private():
    assert all(properties("Bucket")["PublicAccessBlockConfiguration"].values())
    principals = [s["Principal"] for name, s in statements() if name == "BucketPolicy"]
    assert principals == [{"Service": "cloudfront.amazonaws.com"}]


def both_functions_keep_messages_for_the_same_time():
    for function in of_type("AWS::Lambda::Function"):
        variables = properties(function)["Environment"]["Variables"]
        assert variables["LINGER_RETENTION"] == {"Ref": "Retention"}
        assert variables["LINGER_TABLE"] == either({"Ref": "Table"}, {"Ref": "ExistingTable"})
    assert len(of_type("AWS::Lambda::Function")) == 2


def something_watches():
    watched = {(a["Properties"]["MetricName"], a["Properties"]["Dimensions"][0]["Value"]["Ref"]) for a in of_type("AWS::CloudWatch::Alarm").values()}
    for function in ("Publish", "Subscribe"):
        assert {("Errors", function), ("Throttles", function)} <= watched
    assert ("ConcurrentExecutions", "Subscribe") in watched


checks = [value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == "__main__"]
helpers = {properties, of_type, statements, listed, either}
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
