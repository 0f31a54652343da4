import {FLOATS, FLOATS_OF} from './floatFields';

/**
 * The text of a `config.json` as Python writes it, which distinguishes 1.0 from 1. Classes of transformers refuse an
 * integer for a float.
 */
export function configText(config: Readonly<Record<string, unknown>>): string {
  return `${valueText(config, '', {isFloat: false, hasFields: true})}\n`;
}

/** What a value is: a float, and whether its keys are names of fields. */
interface ValueKind {
  isFloat: boolean;
  hasFields: boolean;
}

function valueText(value: unknown, indent: string, kind: ValueKind): string {
  if (typeof value !== 'object' || value === null) {
    return kind.isFloat && Number.isSafeInteger(value) ? `${value as number}.0` : JSON.stringify(value);
  }
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map(entry => inner + valueText(entry, inner, kind))
    : fieldLines(value as Record<string, unknown>, inner, kind.hasFields);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return lines.length === 0 ? `${open}${close}` : `${open}\n${lines.join(',\n')}\n${indent}${close}`;
}

function fieldLines(fields: Readonly<Record<string, unknown>>, indent: string, hasFields: boolean): string[] {
  const type = String(fields.model_type);
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const isFloat = hasFields && (FLOATS.has(name) || FLOATS_OF.get(name)?.includes(type) === true);
      // The keys of label2id are names of classes.
      const text = valueText(value, indent, {isFloat, hasFields: name !== 'label2id'});
      return `${indent}${JSON.stringify(name)}: ${text}`;
    });
}
