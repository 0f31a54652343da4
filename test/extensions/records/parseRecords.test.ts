import {LoRAError, parseRecords} from 'tfjs-lora';
import {rowsOf} from '../../../src/extensions/records/csv';

const parsed = async (...args: Parameters<typeof parseRecords>) => {
  const {format, form, kind, records} = await parseRecords(...args);
  return {format, form, kind, records};
};

const USER = {role: 'user', content: 'Hello'};
const ASSISTANT = {role: 'assistant', content: 'Hi'};

describe('a table', () => {
  // RFC 4180, section 2, rule by rule.
  test.each<[rule: string, text: string, cells: string[][]]>([
    [
      '1: lines end with CRLF',
      'aaa,bbb\r\nzzz,yyy\r\n',
      [
        ['aaa', 'bbb'],
        ['zzz', 'yyy'],
      ],
    ],
    [
      '2: the last line may have no ending',
      'aaa,bbb\r\nzzz,yyy',
      [
        ['aaa', 'bbb'],
        ['zzz', 'yyy'],
      ],
    ],
    ['4: spaces belong to cells', 'a , b\n', [['a ', ' b']]],
    [
      '5: cells may be in quotes',
      '"aaa","bbb"\r\nzzz,"yyy"',
      [
        ['aaa', 'bbb'],
        ['zzz', 'yyy'],
      ],
    ],
    [
      '6: line breaks and commas in quotes',
      '"aaa","b \r\nb,b"\r\nzzz,yyy',
      [
        ['aaa', 'b \r\nb,b'],
        ['zzz', 'yyy'],
      ],
    ],
    ['7: quotes in quotes are doubled', '"aaa","b""bb"""', [['aaa', 'b"bb"']]],
    [
      'empty cells, also in quotes and at the end',
      ',"",\n"",',
      [
        ['', '', ''],
        ['', ''],
      ],
    ],
    [
      'other ends of lines, and empty lines',
      'a,b\n\nc,d\re,f',
      [
        ['a', 'b'],
        ['c', 'd'],
        ['e', 'f'],
      ],
    ],
    ['a quote within a cell is one', 'a"b",c', [['a"b"', 'c']]],
  ])('is read by rule %s', (_, text, cells) => {
    const rows = rowsOf(text, ',');
    expect(rows.map(row => row.cells)).toEqual(cells);
    expect(rows.filter(({fault}) => fault !== undefined)).toEqual([]);
  });

  test('has lines, also after line breaks in cells', () => {
    expect(rowsOf('a\n"b\r\nb"\n\nc', ',').map(({line}) => line)).toEqual([1, 2, 5]);
  });

  test('is CSV, with semicolons too, or TSV, with a byte order mark or without', async () => {
    const records = [
      {text: 'a, b', label: 'x'},
      {text: 'c', label: 'y'},
    ];
    const expected = {form: 'plain', kind: 'examples', records};
    expect(await parsed('\uFEFFtext,label\r\n"a, b",x\r\nc,y\r\n')).toEqual({format: 'CSV', ...expected});
    expect(await parsed('text;label\na, b;x\nc;y')).toEqual({format: 'CSV', ...expected});
    expect(await parsed('Text\tLabel\na, b\tx\nc\ty')).toEqual({format: 'TSV', ...expected});
  });

  test('has labels that are numbers if all are, and thumbs if all are true or false', async () => {
    expect((await parsed('text,label\na,1\nb,20')).records.map(record => (record as {label: unknown}).label)).toEqual([
      1, 20,
    ]);
    expect((await parsed('text,label\na,1\nb,x')).records).toEqual([
      {text: 'a', label: '1'},
      {text: 'b', label: 'x'},
    ]);
    expect(await parsed('prompt,completion,label\na,b,true\na,c,FALSE')).toMatchObject({
      kind: 'preferences',
      records: [
        {prompt: 'a', completion: 'b', label: true},
        {prompt: 'a', completion: 'c', label: false},
      ],
    });
  });

  test('leaves out empty negatives', async () => {
    expect(await parsed('anchor,positive,negative\na,b,c\nd,e,')).toMatchObject({
      kind: 'pairs',
      records: [
        {anchor: 'a', positive: 'b', negative: 'c'},
        {anchor: 'd', positive: 'e'},
      ],
    });
  });

  test('is refused with each line that is not understood', async () => {
    const call = parseRecords('text,label\na,x\n"b\nb",y,z\n\n"c" d,x\n"e,x\n');
    await expect(call).rejects.toMatchObject({
      code: 'ERR_DAMAGED',
      faults: ['Line 3: 3 cells, not 2', 'Line 6: text follows a closing quote', 'Line 7: a quote is not closed'],
    });
    await expect(call).rejects.toThrow('3 of 4 records of CSV are not understood:');
    await expect(parseRecords('a,b\n1,2')).rejects.toThrow(
      'The text is neither JSON nor a table with names of columns',
    );
    await expect(parseRecords('text,label\n')).rejects.toThrow('The text has no records.');
  });
});

describe('JSON', () => {
  const messages = [USER, ASSISTANT];
  const RECORDS = [{messages}, {prompt: 'a', completion: 'b\n'}, {text: '"}],{['}];

  test('is lines, an array, or one object', async () => {
    const expected = {form: 'plain', kind: 'chats', records: RECORDS};
    const lines = RECORDS.map(record => JSON.stringify(record)).join('\r\n\n');
    expect(await parsed(lines)).toEqual({format: 'JSON lines', ...expected});
    for (const indent of [0, 1]) {
      expect(await parsed(JSON.stringify(RECORDS, null, indent))).toEqual({format: 'JSON', ...expected});
    }
    expect(await parsed(JSON.stringify(RECORDS[0], null, 1))).toMatchObject({format: 'JSON', records: [RECORDS[0]]});
    expect(await parsed(JSON.stringify(messages))).toMatchObject({format: 'JSON lines', records: [messages]});
  });

  test('is chats in the form of ShareGPT', async () => {
    const conversations = [
      {from: 'system', value: 'Be kind.'},
      {from: 'human', value: 'Hello'},
      {from: 'gpt', value: 'Hi'},
    ];
    expect(await parsed(JSON.stringify([{conversations}]))).toEqual({
      ...{format: 'JSON', form: 'ShareGPT', kind: 'chats'},
      records: [{messages: [{role: 'system', content: 'Be kind.'}, USER, ASSISTANT]}],
    });
    const [, question, answer] = conversations;
    const preference = {conversations: [question], chosen: answer, rejected: {from: 'gpt', value: 'No'}};
    expect(await parsed(JSON.stringify(preference))).toMatchObject({
      kind: 'preferences',
      records: [{messages: [USER], chosen: 'Hi', rejected: 'No'}],
    });
  });

  test('is chats in the form of Alpaca, in tables too', async () => {
    const expected = [
      {
        messages: [
          {role: 'user', content: 'Add.\n\n1 + 1'},
          {role: 'assistant', content: '2'},
        ],
      },
      {messages: [USER, ASSISTANT]},
    ];
    const records = [
      {instruction: 'Add.', input: '1 + 1', output: '2'},
      {instruction: 'Hello', input: '', output: 'Hi'},
    ];
    expect(await parsed(JSON.stringify(records))).toMatchObject({form: 'Alpaca', kind: 'chats', records: expected});
    const table = 'instruction,input,output\nAdd.,1 + 1,2\nHello,,Hi';
    expect(await parsed(table)).toMatchObject({format: 'CSV', form: 'Alpaca', records: expected});
    const preference = {instruction: 'Hello', chosen: 'Hi', rejected: 'No'};
    expect(await parsed(JSON.stringify(preference))).toMatchObject({
      records: [{messages: [USER], chosen: 'Hi', rejected: 'No'}],
    });
  });

  test('is refused with the line of each record that is not understood, or these are left out', async () => {
    const text = `[
      {"text": "a"},
      {"text": "b" "c"},
      {"messages": [{"role": "asistant", "content": "x"}]},
      {"anchor": "a", "positive": "b"},
      {"text": "d"}
    ]`;
    const faults = [
      'Line 3: not JSON: "{\\"text\\": \\"b\\" \\"c\\"}"',
      expect.stringMatching(/^Line 4: the role "asistant" is none of system, /) as string,
      expect.stringMatching(/^Line 5: It is not an example\. Expected /) as string,
    ];
    await expect(parseRecords(text)).rejects.toMatchObject({code: 'ERR_DAMAGED', faults});
    await expect(parseRecords(text)).rejects.toThrow('3 of 5 records of JSON are not understood:');
    const {records, skipped} = await parseRecords(text, {skip: true});
    expect(records).toEqual([{text: 'a'}, {text: 'd'}]);
    expect(skipped).toEqual(faults);
    const lines = '{"conversations": [{"from": "judge", "value": "x"}]}\n\n{"text": "a"';
    await expect(parseRecords(lines)).rejects.toMatchObject({
      faults: [expect.stringMatching(/^Line 1: the role "judge"/), expect.stringMatching(/^Line 3: not JSON/)],
    });
  });

  test('is refused if an array does not end, or goes on', async () => {
    await expect(parseRecords('[\n{"text": "a"}\n')).rejects.toThrow(
      'Line 3: the brackets around the records do not match',
    );
    await expect(parseRecords('[{"text": "a"}]\n]')).rejects.toThrow('Line 2: ');
    await expect(parseRecords('[]')).rejects.toThrow('The text has no records.');
  });

  test('has labels that count, unless the kind is chosen', async () => {
    await expect(parseRecords('{"text": "a", "label": true}')).rejects.toThrow('Line 1: expected {messages}');
    expect((await parseRecords('{"text": "a", "label": 1}', {kind: 'chats'})).kind).toBe('chats');
    await expect(parseRecords('{"text": "a"}', {kind: 'pairs'})).rejects.toThrow(
      'a pair has the texts anchor and positive',
    );
  });
});

test('a file is read in UTF-8, or in UTF-16 with a byte order mark', async () => {
  const text = 'text,label\näöü,1\n';
  const wide = Uint8Array.from([0xff, 0xfe, ...Array.from(text).flatMap(character => [character.charCodeAt(0), 0])]);
  for (const part of [text, `\uFEFF${text}`, wide]) {
    expect((await parseRecords(new Blob([part]))).records).toEqual([{text: 'äöü', label: 1}]);
  }
  const latin = Uint8Array.from(text, character => character.charCodeAt(0));
  await expect(parseRecords(new Blob([latin]))).rejects.toThrow('The file is not text in UTF-8.');
});

test('a million brackets or quotes without an end are refused', async () => {
  const nested = '['.repeat(1e6);
  await expect(parseRecords(nested)).rejects.toThrow(LoRAError);
  await expect(parseRecords(`text\n${'"'.repeat(1e6 + 1)}`)).rejects.toThrow(LoRAError);
  await expect(parseRecords(`[{"text": "${'\\"'.repeat(1e6)}`)).rejects.toThrow(LoRAError);
});

test('what is neither text nor file is refused', async () => {
  await expect(parseRecords(3 as never)).rejects.toThrow(
    'Pass the text of records, or a File or Blob of it, got a number.',
  );
  await expect(parseRecords('', {kind: 'chat' as never})).rejects.toThrow('kind must be one of "preferences", ');
});
