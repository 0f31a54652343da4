// Writes the table of docs/what-import-changes.md from scripts/importChanges.ts:
// `npx tsx scripts/whatImportChanges.ts`.

import {readFileSync, writeFileSync} from 'node:fs';
import {type Change, CHANGES} from './importChanges';

const PAGE = 'docs/what-import-changes.md';

function tableOf(changes: readonly Change[]): string {
  const row = ({what, why, lasts, without, by}: Change) => `| ${what} | ${why} | ${lasts} | ${without} | \`${by}\` |`;
  return [
    '| what | why | when | how to avoid it | in `src` |',
    '| --- | --- | --- | --- | --- |',
    ...changes.map(row),
    '',
  ].join('\n');
}

/**
 * A page with its tables written anew: what changes something in the globals of tfjs, and what changes objects that are
 * passed in.
 */
export function written(page: string): string {
  const tables = [
    CHANGES.filter(({globals}) => globals !== undefined),
    CHANGES.filter(({globals}) => globals === undefined),
  ];
  return page.replace(/(?:^\|.*\n)+/gm, () => tableOf(tables.shift() ?? []));
}

if (process.argv[1]?.endsWith('whatImportChanges.ts')) {
  writeFileSync(PAGE, written(readFileSync(PAGE, 'utf8')));
}
