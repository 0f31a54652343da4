import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const PAGE = readFileSync('docs/troubleshooting.md', 'utf8');
const TFJS = ['core', 'layers', 'converter', 'backend-cpu', 'backend-wasm', 'backend-webgl'];

/** The text of a source file, in which literals that are added up are one. */
function withWholeTexts(path: string): string {
  return readFileSync(path, 'utf8')
    .replace(/(['"`])\s*\+\s*['"`]/g, '')
    .replace(/\\(['"`])/g, '$1');
}

const OURS = readdirSync('src', {recursive: true, encoding: 'utf8'})
  .filter(name => name.endsWith('.ts'))
  .map(name => withWholeTexts(join('src', name)));
const THEIRS = TFJS.map(name => withWholeTexts(`node_modules/@tensorflow/tfjs-${name}/dist/tf-${name}.fesm.js`));

/** The messages that the page quotes in the headings under one of its titles, and in blocks of text. */
function quotedUnder(title: string): string[] {
  const [part = ''] = PAGE.split(/^## /m).filter(text => text.startsWith(`${title}\n`));
  const headings = [...part.matchAll(/^#{3,4} (.*)$/gm)].flatMap(([, heading = '']) => [
    ...heading.matchAll(/`([^`]+)`/g),
  ]);
  const blocks = [...part.matchAll(/^```text\n([^]*?)\n```$/gm)];
  return [...headings, ...blocks].map(([, message = '']) => message);
}

/** Whether one of the sources has all that a message says between what `…` stands for. */
function isIn(sources: readonly string[], message: string): boolean {
  const pieces = message.split('…').filter(piece => piece !== '');
  return sources.some(source => pieces.every(piece => source.includes(piece)));
}

test('the messages of this library that the page quotes are in its source', () => {
  const quoted = quotedUnder('Errors and warnings of this library');
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter(message => !isIn(OURS, message))).toEqual([]);
});

test('the messages of TensorFlow.js that the page quotes are in its source', () => {
  const quoted = quotedUnder('Errors and warnings of TensorFlow.js');
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter(message => !isIn(THEIRS, message))).toEqual([]);
});

test('a message that nobody says is not taken for one', () => {
  expect(isIn(OURS, 'The model has no LoRA layers.')).toBe(true);
  expect(isIn(OURS, 'The model has too many LoRA layers.')).toBe(false);
});
