// `node:fs` and `node:path` for what the code of pages takes for granted, which reads files of the tests: the site has
// them at the same paths.

import {withBase} from 'vitepress';

export function join(...parts: string[]): string {
  const path: string[] = [];
  for (const part of parts.flatMap(each => each.split('/'))) {
    if (part === '..') {
      path.pop();
    } else if (part !== '' && part !== '.') {
      path.push(part);
    }
  }
  return path.join('/');
}

/** Paths of the site have one root. */
export const resolve = join;

export function readdirSync(): string[] {
  return [];
}

export function readFileSync(path: string, encoding?: 'utf8'): Uint8Array | string {
  const request = new XMLHttpRequest();
  request.open('GET', withBase(`/${join(path)}`), false);
  request.overrideMimeType('text/plain; charset=x-user-defined'); // bytes, as the low halves of characters
  request.send();
  if (request.status !== 200) {
    throw new Error(`The site has no ${path}.`);
  }
  const bytes = Uint8Array.from(request.responseText, character => character.charCodeAt(0) & 255);
  return encoding === undefined ? bytes : new TextDecoder().decode(bytes);
}
