"""What the template makes for given parameters: translated as SAM does, its conditions decided."""

import os
import re
from pathlib import Path

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
PSEUDO = {"AccountId", "NoValue", "Partition", "Region", "StackId", "StackName", "URLSuffix"}
NOTHING = object()
# SAM asks for one.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")


def translate():
    """What SAM makes of the template, and its parameters' defaults."""
    source = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # Where `sam package` would put it.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    defaults = {name: parameter["Default"] for name, parameter in source["Parameters"].items()}
    return Translator({}, Parser()).translate(source, {}), defaults


TEMPLATE, DEFAULTS = translate()


class Stack:
    """The resources that are made, with every Fn::If decided and every AWS::NoValue gone."""

    def __init__(self, region="us-east-1", **parameters):
        assert set(parameters) <= set(DEFAULTS), parameters
        self.given = {name: str(value) for name, value in parameters.items()}
        self.parameters = {name: str(value) for name, value in {**DEFAULTS, **parameters}.items()}
        self.parameters["AWS::Region"] = region
        self.resources = self.made("Resources")
        self.outputs = self.made("Outputs")

    def made(self, part):
        kept = {name: value for name, value in TEMPLATE[part].items() if self.holds(value.get("Condition"))}
        return self.decided(kept)

    def refused(self):
        """What the template's rules say against these parameters."""
        said = []
        for rule in TEMPLATE["Rules"].values():
            if self.value(rule["RuleCondition"]):
                said += [a["AssertDescription"] for a in rule["Assertions"] if not self.value(a["Assert"])]
        return said

    def holds(self, name):
        return name is None or self.value({"Condition": name})

    def value(self, expression):
        """Of a condition, or of what one compares."""
        if not isinstance(expression, dict):
            return expression if isinstance(expression, (bool, list)) else str(expression)
        ((kind, of),) = expression.items()
        match kind:
            case "Condition":
                return self.value(TEMPLATE["Conditions"][of])
            case "Ref":
                return self.parameters.get(of, of)
            case "Fn::Equals":
                return self.value(of[0]) == self.value(of[1])
            case "Fn::Not":
                return not self.value(of[0])
            case "Fn::And":
                return all([self.value(part) for part in of])
            case "Fn::Join":
                return self.value(of[1])
        raise ValueError(expression)

    def decided(self, value):
        if isinstance(value, list):
            return [part for part in map(self.decided, value) if part is not NOTHING]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value:
            condition, if_so, if_not = value["Fn::If"]
            return self.decided(if_so if self.holds(condition) else if_not)
        if value == {"Ref": "AWS::NoValue"}:
            return NOTHING
        parts = {key: self.decided(part) for key, part in value.items() if key != "Condition" or not isinstance(part, str)}
        return {key: part for key, part in parts.items() if part is not NOTHING}

    def properties(self, name):
        return self.resources[name]["Properties"]

    def of_type(self, kind):
        return {name: resource for name, resource in self.resources.items() if resource["Type"] == kind}

    def statements(self):
        """Each statement of each policy, with the resource that it belongs to."""
        for name, resource in self.resources.items():
            found = resource["Properties"]
            documents = [policy["PolicyDocument"] for policy in found.get("Policies", [])]
            documents += [found[key] for key in ("PolicyDocument", "AssumeRolePolicyDocument") if key in found]
            for document in documents:
                for statement in document["Statement"]:
                    yield name, statement

    def references(self):
        """What the resources and outputs that are made refer to, but for AWS's own names."""
        named = set()

        def look(value):
            if isinstance(value, list):
                return [look(part) for part in value]
            if not isinstance(value, dict):
                return None
            if isinstance(value.get("Ref"), str):
                named.add(value["Ref"])
            if "Fn::GetAtt" in value:
                named.add(value["Fn::GetAtt"][0])
            if "Fn::Sub" in value:
                text, own = value["Fn::Sub"] if isinstance(value["Fn::Sub"], list) else (value["Fn::Sub"], {})
                named.update(name.split(".")[0] for name in re.findall(r"\$\{([^}!]+)\}", text) if name not in own)
            return [look(part) for part in value.values()]

        look([self.resources, self.outputs])
        return {name for name in named if name.removeprefix("AWS::") not in PSEUDO}

    def decided_template(self):
        """As a template, such as a linter reads."""
        template = {key: value for key, value in TEMPLATE.items() if key not in ("Conditions", "Rules", "Metadata")}
        parameters = {name: {**value, "Default": self.given.get(name, value["Default"])} for name, value in TEMPLATE["Parameters"].items()}
        return {**template, "Parameters": parameters, "Resources": self.resources, "Outputs": self.outputs}
