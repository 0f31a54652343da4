"""Writes which fields of configs transformers declares as floats, which `exportTransformer` writes with a decimal point:

python test/python/make_floats.py src/extensions/transformers/load/floatFields.ts

The families are the rows of `load/architectures.ts`. A field is in the first list if no family has it as an integer, and else in the second, by
the families that have it as a float. Classes of transformers refuse integers for floats, and floats for integers.
"""

import dataclasses
import re
import sys
from collections import defaultdict
from pathlib import Path

import new_impl
import transformers
from transformers.modeling_rope_utils import RopeParameters

CLASSES = {new_impl.NewConfig.model_type: new_impl.NewConfig}


def families():
    text = Path("src/extensions/transformers/load/architectures.ts").read_text()
    rows = re.search(r"\nconst ARCHITECTURES.*?= \{\n(.*?)\n\};", text, re.S)[1]
    return [one or other for one, other in re.findall(r"^  (?:'([\w-]+)'|(\w+))[:,]", rows, re.M)]


def fields_of(config_class):
    """The fields of a config and of those inside it, each with its declared type."""
    for field in dataclasses.fields(config_class):
        yield field.name, str(getattr(field.type, "__name__", field.type) if isinstance(field.type, type) else field.type)
    for part in config_class.sub_configs.values():
        if part is not transformers.AutoConfig:
            yield from fields_of(part)


def line(names, indent):
    """A list of TypeScript on lines of at most 120 characters."""
    text = ""
    for name in names:
        word = f"'{name}', "
        last = text.rsplit("\n", 1)[-1]
        text += word if len(last) + len(word) < 110 or text == "" else f"\n{word}"
    return "\n".join(f"{indent}...[{each.rstrip(', ')}]," for each in text.split("\n"))


def main():
    kinds = defaultdict(dict)
    for family in families():
        config_class = CLASSES.get(family) or transformers.CONFIG_MAPPING[family]
        for name, declared in fields_of(config_class):
            kind = "float" if "float" in declared else "int" if re.search(r"\bint\b", declared) else None
            if kind is not None and not declared.startswith("dict"):
                kinds[name][family] = kind
    for name, declared in RopeParameters.__annotations__.items():
        if "float" in str(declared):
            kinds[name]["rope_parameters"] = "float"
    floats = {name: [family for family, kind in each.items() if kind == "float"] for name, each in kinds.items()}
    everywhere = sorted(name for name, each in floats.items() if len(each) == len(kinds[name]) > 0)
    somewhere = {name: each for name, each in sorted(floats.items()) if 0 < len(each) < len(kinds[name])}
    rows = "".join(f"  ['{name}', [{', '.join(map(repr, each))}]],\n" for name, each in somewhere.items())
    Path(sys.argv[1]).write_text(f"""// Written by test/python/make_floats.py, from the configs of transformers {transformers.__version__}.

/** Fields of configs that are floats in every family that has them. */
export const FLOATS: ReadonlySet<string> = new Set([
{line(everywhere, "  ")}
]);

/** Fields that are floats in some families, which are listed, and integers in others. */
export const FLOATS_OF: ReadonlyMap<string, readonly string[]> = new Map([
{rows}]);
""")


main()
