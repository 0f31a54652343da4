import {readFileSync} from 'node:fs';

/** A thousand texts of many scripts, kinds of white space and digits: those of `test/python/make_gguf.py`. */
export function drawnTexts(): string[] {
  const pieces = JSON.parse(readFileSync('test/fixtures/gguf/pieces.json', 'utf8')) as string[];
  let state = 1;
  const draw = (count: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % count;
  };
  return Array.from({length: 1000}, () =>
    Array.from({length: 1 + draw(8)}, () => pieces[draw(pieces.length)]).join(''),
  );
}
