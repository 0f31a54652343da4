import {mean} from '../shared/report';

/** The part of JSON schemas that `jsonReward` checks. */
export interface Schema {
  type?: string | readonly string[];
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  items?: Schema;
  [keyword: string]: unknown;
}

/** The other keywords that are checked: whether a value is as they say. */
const CHECKS: Readonly<Record<string, (value: unknown, expected: unknown) => boolean>> = {
  enum: (value, expected) => (expected as unknown[]).includes(value),
  const: (value, expected) => value === expected,
  minimum: (value, expected) => (value as number) >= (expected as number),
  maximum: (value, expected) => (value as number) <= (expected as number),
  minLength: (value, expected) => String(value).length >= (expected as number),
  maxLength: (value, expected) => String(value).length <= (expected as number),
  pattern: (value, expected) => new RegExp(expected as string, 'u').test(String(value)),
};
const NAMES = ['type', 'properties', 'required', 'items', ...Object.keys(CHECKS)];
/** What says nothing of values. */
const ANNOTATIONS = ['$schema', 'title', 'description'];

/** @throws Error if a schema has keywords that are not checked, or is none. */
export function checkSchema(schema: unknown): asserts schema is Schema {
  if (typeof schema !== 'object' || schema === null || Array.isArray(schema)) {
    throw new Error('A JSON schema is an object, such as {"required": ["name"]}.');
  }
  const unknown = Object.keys(schema).filter(name => ![...NAMES, ...ANNOTATIONS].includes(name));
  if (unknown.length > 0) {
    throw new Error(`This schema has ${unknown.join(', ')}. Only these keywords are checked: ${NAMES.join(', ')}.`);
  }
  const {properties = {}, required = [], items, pattern = '', enum: values = []} = schema as Record<string, unknown>;
  if (![required, values].every(Array.isArray) || typeof properties !== 'object' || properties === null) {
    throw new Error('In a JSON schema, "required" and "enum" are lists, and "properties" is an object.');
  }
  new RegExp(pattern as string, 'u');
  [...Object.values<unknown>({...properties}), ...(items === undefined ? [] : [items])].forEach(checkSchema);
}

/**
 * Half for JSON of the schema's type, and the other half for the share of the schema that it follows. A text that only
 * begins as JSON gets a tenth, so that there is something to begin with.
 */
export function jsonReward(text: string, schema: Schema): number {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return /^\s*[{[]/.test(text) ? 0.1 : 0;
  }
  return hasType(value, schema) ? 0.5 + 0.5 * followed(value, schema) : 0;
}

/** The share of a schema that a value follows. */
function followed(value: unknown, schema: Schema): number {
  if (!hasType(value, schema)) {
    return 0;
  }
  const {properties = {}, required = [], items} = schema;
  const fields = Object(value) as Record<string, unknown>;
  const shares = [
    ...[...new Set([...required, ...Object.keys(properties)])].map(name =>
      Object.hasOwn(fields, name)
        ? followed(fields[name], Object.hasOwn(properties, name) ? properties[name]! : {})
        : Number(!required.includes(name)),
    ),
    ...(items !== undefined && Array.isArray(value) ? value.map(item => followed(item, items)) : []),
    ...Object.keys(schema)
      .filter(name => name in CHECKS)
      .map(name => Number(CHECKS[name]!(value, schema[name]))),
  ];
  return shares.length === 0 ? 1 : mean(shares);
}

function hasType(value: unknown, {type}: Schema): boolean {
  const kind = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  const kinds = Number.isInteger(value) ? [kind, 'integer'] : [kind];
  return type === undefined || [type].flat().some(name => kinds.includes(name));
}

export function countWords(text: string): number {
  return text.split(/\s+/).filter(word => word !== '').length;
}

/** 1 for one word to so many. Longer answers get less than half, and those that are cut off less than a quarter. */
export function shortReward({text, truncated}: {text: string; truncated: boolean}, most: number): number {
  const words = countWords(text);
  const close = Math.max(0, 1 - Math.max(0, words - most) / (2 * most)) * (truncated ? 0.25 : 1);
  return words === 0 ? 0 : words <= most && !truncated ? 1 : close / 2;
}

/** 1 for an answer without any of the words, less with each of them, and 0 for none at all. */
export function avoidReward(text: string, words: readonly string[]): number {
  const said = text.toLowerCase().match(/[\p{L}\p{N}'’-]+/gu) ?? [];
  const hits = said.filter(word => words.includes(word)).length;
  return said.length === 0 ? 0 : 1 / (1 + hits);
}
