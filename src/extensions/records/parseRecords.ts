import {brief, checkOptions, damagedError, faultLines, kindOf, LoRAError, messageOf, show} from '../../platform/errors';
import {type ChatRecord, exampleOf} from './chatRecords';
import {type Row, rowsOf} from './csv';
import {type ChatMessage, isMessages, ROLES} from './messages';
import {judgedPromptOf, type PreferenceRecord} from './preferenceRecords';

/** A text and its class, for `encodeExamples`. */
export interface LabeledText {
  /** What is to be classified. */
  text: string;
  /** The name of its class, or its index. */
  label: string | number;
}

/** Texts that belong together, and those that do not, for `encodePairs`. */
export interface PairRecord {
  /** The text that the others are compared with. */
  anchor: string;
  /** A text that belongs to it. */
  positive: string;
  /** Texts that do not. Default: those of the other records of a batch. */
  negative?: string | readonly string[];
}

/** The kinds of records, by what they are for. */
export interface RecordKinds {
  /** For `encodePreferences`. */
  preferences: PreferenceRecord;
  /** For `encodePairs`. */
  pairs: PairRecord;
  /** For `encodeExamples`. */
  examples: LabeledText;
  /** For `encodeChats`. */
  chats: ChatRecord;
}

/** Options of `parseRecords`. */
export interface ParseRecordsOptions<Kind extends keyof RecordKinds = keyof RecordKinds> {
  /** What the records are for. Default: what fits the first one. */
  kind?: Kind;
  /** Whether records that are not understood are left out and listed. Default: false, they are an error. */
  skip?: boolean;
}

/** What `parseRecords` found. */
export interface ParsedRecords<Kind extends keyof RecordKinds = keyof RecordKinds> {
  /** How the text is written. */
  readonly format: 'JSON' | 'JSON lines' | 'CSV' | 'TSV';
  /** The form of the first record. */
  readonly form: 'ShareGPT' | 'Alpaca' | 'plain';
  /** What the records are for. */
  readonly kind: Kind;
  /** Those that were understood, in the order of the text. */
  readonly records: RecordKinds[Kind][];
  /** Records that were not understood, each with its line. */
  readonly skipped: readonly string[];
}

/** A value of the text, and the line in which it begins. */
interface Entry {
  readonly line: number;
  readonly value: unknown;
  readonly fault?: string | undefined;
}

type Fields = Partial<Record<string, unknown>>;

/** Roles of ShareGPT by other names. */
const SHARE_GPT: Readonly<Record<string, string>> = {human: 'user', gpt: 'assistant', observation: 'tool'};

/** Checks of the kinds, the most specific first. They throw, or say why a record is not of the kind. */
const CHECKS: Readonly<Record<keyof RecordKinds, (fields: Fields) => string | undefined>> = {
  preferences: fields => {
    judgedPromptOf(fields, 'It');
    return undefined;
  },
  pairs: ({anchor, positive, negative = []}) =>
    [anchor, positive, ...[negative].flat()].every(isString)
      ? undefined
      : 'a pair has the texts anchor and positive, and negative, a text or a list of texts, if there is one',
  examples: ({text, label}) =>
    isString(text) && (isString(label) || Number.isSafeInteger(label))
      ? undefined
      : 'an example has a text, and a label, a text or a whole number',
  chats: fields => {
    exampleOf(fields, 'It');
    return undefined;
  },
};

const EXPECTED =
  '{messages}, {conversations}, {prompt, completion}, {instruction, output}, {text}, {text, label}, ' +
  '{anchor, positive} or {chosen, rejected}';

/** The names of columns by which a table is recognised. */
const COLUMNS = [
  ...['text', 'label', 'prompt', 'completion', 'anchor', 'positive', 'negative', 'chosen', 'rejected'],
  ...['instruction', 'input', 'output', 'system'],
];

/**
 * Parses records of examples: JSON lines, a JSON array, or a table whose first line has names, as CSV (also with
 * semicolons) or TSV. Chats may have the form of ShareGPT, `{conversations: [{from, value}]}`, or of Alpaca,
 * `{instruction, input, output}`; both become messages.
 *
 * @param source the text, or a file of it, in UTF-8 or with a byte order mark.
 * @param options what the records are for, and whether those that are not understood are left out.
 * @returns a promise of the records, as `encodeChats`, `encodeExamples`, `encodePairs` and `encodePreferences` take
 *     them; which form they had; and which were left out.
 * @throws LoRAError `ERR_DAMAGED` with each line that was not understood (all are in `faults`), also for an unknown
 *     role and for a record of another kind than the first; `ERR_OPTION` if it is neither text nor file.
 * @example
 * const {records} = await parseRecords('text,label\nGood,positive\n"Long, and dull",negative', {kind: 'examples'});
 * @experimental
 */
export async function parseRecords<Kind extends keyof RecordKinds = keyof RecordKinds>(
  source: string | Blob,
  options: ParseRecordsOptions<Kind> = {},
): Promise<ParsedRecords<Kind>> {
  checkOptions(options, {kind: true, skip: true}, "parseRecords(file, {kind: 'chats'})");
  const {kind, skip = false} = options;
  if (kind !== undefined && !Object.hasOwn(CHECKS, kind)) {
    throw new LoRAError(`kind must be one of ${Object.keys(CHECKS).map(show).join(', ')}, got ${show(kind)}.`);
  }
  const text = await textOf(source);
  const {format, entries} = entriesOf(text);
  const kinds = kind === undefined ? (Object.keys(CHECKS) as Kind[]) : [kind];
  let first: {kind: Kind; form: ParsedRecords['form']} | undefined;
  const records: RecordKinds[Kind][] = [];
  const faults: string[] = [];
  for (const {line, value, fault} of entries) {
    try {
      if (fault !== undefined) {
        throw new LoRAError(fault);
      }
      const {form, record} = normalized(value);
      const itsKind = kindOfRecord(record, first ? [first.kind] : kinds, kind !== undefined);
      first ??= {kind: itsKind, form};
      records.push(record as RecordKinds[Kind]);
    } catch (error) {
      faults.push(`Line ${line}: ${messageOf(error)}`);
    }
  }
  if (first === undefined || (faults.length > 0 && !skip)) {
    const title = `${faults.length} of ${entries.length} records of ${format} are not understood`;
    throw damagedError(
      entries.length === 0
        ? 'The text has no records.'
        : `${title}:\n${faultLines(faults)}${first ? '\nCorrect them, or leave them out with {skip: true}.' : ''}`,
      {faults},
    );
  }
  return {format, ...first, records, skipped: faults};
}

async function textOf(source: string | Blob): Promise<string> {
  if (typeof source === 'string') {
    return source.replace(/^\uFEFF/, '');
  }
  if (typeof (source as Partial<Blob> | null)?.arrayBuffer !== 'function') {
    throw new LoRAError(`Pass the text of records, or a File or Blob of it, got ${kindOf(source)}.`);
  }
  const bytes = new Uint8Array(await source.arrayBuffer());
  const isWide = bytes[0] === 0xff && bytes[1] === 0xfe; // "Unicode text" of a spreadsheet
  try {
    return new TextDecoder(isWide ? 'utf-16le' : 'utf-8', {fatal: true}).decode(bytes);
  } catch (error) {
    throw damagedError('The file is not text in UTF-8. Save it in that encoding.', {cause: error});
  }
}

function entriesOf(text: string): {format: ParsedRecords['format']; entries: Entry[]} {
  if (!/^\s*[[{]/.test(text)) {
    return tableIn(text);
  }
  const [firstLine = ''] = text.trimStart().split('\n', 1);
  const first = jsonOf(firstLine, 1);
  const isLines = first.fault === undefined && (!Array.isArray(first.value) || isMessages(first.value));
  if (isLines || (text.trimStart().startsWith('{') && jsonOf(text, 1).fault !== undefined)) {
    const lines = text.split('\n').map((line, i) => [line.trim(), i + 1] as const);
    return {format: 'JSON lines', entries: lines.filter(([line]) => line !== '').map(line => jsonOf(...line))};
  }
  const entries = elementsOf(text).map(element => jsonOf(...element));
  const {fault} = jsonOf(text, 1);
  const isFault = fault !== undefined && entries.every(entry => entry.fault === undefined);
  const atEnd = {
    line: text.split('\n').length,
    value: undefined,
    fault: 'the brackets around the records do not match',
  };
  return {format: 'JSON', entries: isFault ? [...entries, atEnd] : entries};
}

function jsonOf(text: string, line: number): Entry {
  try {
    return {line, value: JSON.parse(text)};
  } catch {
    return {line, value: undefined, fault: `not JSON: ${brief(text)}`};
  }
}

/** The elements of a JSON array as texts, with their lines; or one object. */
function elementsOf(text: string): [element: string, line: number][] {
  const elements: [string, number][] = [];
  const outside = text.trimStart().startsWith('[') ? 1 : 0;
  let [depth, line, start, startLine] = [0, 1, -1, 1];
  const end = (at: number) => {
    if (start >= 0) {
      elements.push([text.slice(start, at).trim(), startLine]);
      start = -1;
    }
  };
  for (const {0: token, index} of text.matchAll(/"(?:[^"\\]+|\\.)*"?|[[\]{},\n]|[^\s"[\]{},]+/gs)) {
    const isEnd = (token === ',' || token === ']') && depth === outside && outside === 1;
    if (isEnd) {
      end(index);
    } else if (token !== '\n' && start < 0 && depth === outside) {
      [start, startLine] = [index, line];
    }
    depth += token === '[' || token === '{' ? 1 : token === ']' || token === '}' ? -1 : 0;
    line += token.split('\n').length - 1;
  }
  end(text.length);
  return elements;
}

function tableIn(text: string): {format: 'CSV' | 'TSV'; entries: Entry[]} {
  const [head = ''] = text.trimStart().split(/[\r\n]/, 1);
  const delimiter = ['\t', ';'].find(character => head.includes(character)) ?? ',';
  const [names, ...rows] = rowsOf(text, delimiter);
  const columns = (names?.cells ?? []).map(name => name.trim().toLowerCase());
  if (names !== undefined && !columns.some(name => COLUMNS.includes(name))) {
    throw damagedError(
      'The text is neither JSON nor a table with names of columns in its first line, such as text,label: ' +
        `${brief(head)}. Records are ${EXPECTED}.`,
    );
  }
  const labels = rows.map(({cells}) => cells[columns.indexOf('label')] ?? '');
  const asLabel = labels.every(label => /^\d+$/.test(label))
    ? Number
    : labels.every(label => /^(true|false)$/i.test(label))
      ? (label: string) => label.toLowerCase() === 'true'
      : (label: string) => label;
  const entryOf = ({line, cells, fault}: Row): Entry => ({
    line,
    // An empty cell is a field that the record does not have.
    value: Object.fromEntries(
      columns
        .map((name, i) => [name, name === 'label' ? asLabel(cells[i] ?? '') : cells[i]] as const)
        .filter(([name, cell]) => cell !== '' || !['negative', 'input', 'system'].includes(name)),
    ),
    fault: fault ?? (cells.length === columns.length ? undefined : `${cells.length} cells, not ${columns.length}`),
  });
  return {format: delimiter === '\t' ? 'TSV' : 'CSV', entries: rows.map(entryOf)};
}

/** A record as it is encoded. ShareGPT and Alpaca become messages. */
function normalized(value: unknown): {form: ParsedRecords['form']; record: unknown} {
  const fields = (value ?? {}) as Fields;
  const {conversations, instruction, input, output, system} = fields;
  const answers = Object.fromEntries(
    ['chosen', 'rejected'].flatMap(name => {
      const answer = fields[name] as Fields | null | undefined;
      return answer === undefined ? [] : [[name, answer?.value ?? answer]];
    }),
  );
  if (Array.isArray(conversations)) {
    const messages = conversations.map((turn: Fields | null) => {
      const role = String(turn?.from).toLowerCase();
      return {role: SHARE_GPT[role] ?? role, content: turn?.value};
    });
    return {form: 'ShareGPT', record: {messages: [...systemOf(system), ...messages], ...answers}};
  }
  if (isString(instruction) && (isString(output) || Object.keys(answers).length > 0)) {
    const content = [instruction, input].filter(text => isString(text) && text !== '').join('\n\n');
    const messages = [...systemOf(system), {role: 'user', content}];
    const answered = [...messages, {role: 'assistant', content: output}];
    return {form: 'Alpaca', record: isString(output) ? {messages: answered} : {messages, ...answers}};
  }
  return {form: 'plain', record: value};
}

function systemOf(text: unknown): ChatMessage[] {
  return isString(text) && text !== '' ? [{role: 'system', content: text}] : [];
}

/**
 * @param isChosen whether the kind is the user's choice, so that labels of chats may be ignored.
 * @throws LoRAError if a record is of none of these kinds, or has an unknown role.
 */
function kindOfRecord<Kind extends keyof RecordKinds>(
  record: unknown,
  kinds: readonly Kind[],
  isChosen: boolean,
): Kind {
  const reasons: string[] = [];
  const kind = kinds.find(one => {
    try {
      if (one === 'chats' && !isChosen && (record as Fields | null)?.label !== undefined) {
        throw new LoRAError("a label is a text or a whole number. With {kind: 'chats'}, labels are ignored");
      }
      const reason = CHECKS[one](record ?? {});
      reasons.push(...(reason === undefined ? [] : [reason]));
      return reason === undefined;
    } catch (error) {
      reasons.push(messageOf(error));
      return false;
    }
  });
  if (kind === undefined) {
    const [reason = ''] = reasons;
    throw new LoRAError(kinds.length === 1 ? reason : `expected ${EXPECTED}, got ${brief(record)}`);
  }
  const parts: unknown[] = Array.isArray(record) ? [record] : Object.values(record as Fields);
  const roles = parts.filter(isMessages).flatMap(messages => messages.map(({role}) => role));
  const unknown = roles.find(role => !ROLES.includes(role));
  if (unknown !== undefined) {
    throw new LoRAError(`the role ${show(unknown)} is none of ${ROLES.join(', ')}`);
  }
  return kind;
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}
