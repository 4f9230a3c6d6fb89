"""YAML documents of files, held against the schemas of Kubernetes and of the Prometheus operator.

documents.py json FILE                    the documents as a JSON array
documents.py check VERSION CRDS FILE ...  exit 1 with one line per fault; VERSION of Kubernetes, CRDS a directory of
                                          CustomResourceDefinitions, which is where every other kind is looked for

Unknown fields and keys that are there twice are faults: an API server drops the first and YAML the second without a word.
Run by tests/deploy.rs in the environment that requirements.txt describes.
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml


class Loader(yaml.SafeLoader):
    """Refuses a key that is there twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


# YAML 1.1 takes a bare `=` for something special; in the definitions it is text.
Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_scalar)


def documents(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return [document for document in yaml.load_all(text, Loader) if document is not None]


def strict(schema):
    """The schema with every object closed that names its fields."""
    if isinstance(schema, dict):
        open_object = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if schema.get("type") == "object" and "properties" in schema and not open_object:
            schema["additionalProperties"] = False
        for value in schema.values():
            strict(value)
    elif isinstance(schema, list):
        for value in schema:
            strict(value)
    return schema


def custom(directory):
    """Schemas of custom resources, by API version and kind."""
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*.yaml")):
        for definition in documents(path):
            spec = definition["spec"]
            for version in spec["versions"]:
                schema = strict(copy.deepcopy(version["schema"]["openAPIV3Schema"]))
                # What every object has; a definition leaves it to the server.
                schema["properties"]["metadata"] = {"type": "object"}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def faults(document, version, customs):
    schema = customs.get((document.get("apiVersion"), document.get("kind")))
    if schema is None:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as fault:
            yield fault
        return
    yield from jsonschema.Draft202012Validator(schema).iter_errors(document)


def check(version, directory, paths):
    customs = custom(directory)
    wrong = 0
    for path in paths:
        for document in documents(path):
            name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
            for fault in faults(document, version, customs):
                where = ".".join(str(part) for part in fault.path)
                print(f"{path}: {name}: {where}: {fault.message[:500]}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1] == "json":
        json.dump(documents(sys.argv[2]), sys.stdout, default=str)
    else:
        sys.exit(check(sys.argv[2], sys.argv[3], sys.argv[4:]))
