import milliseconds from './importCosts.json';
import sizes from './sizes.json';
import {ENTRIES, importName} from './entries';

// The table of docs/bundlers.md: what each import costs, by scripts/sizes.json and scripts/importCosts.json.

const SIZES: Readonly<Record<string, number>> = sizes;
const MILLISECONDS: Readonly<Record<string, number>> = milliseconds;
const FOUR = 'applyLoRA + mergeLoRA + saveAdapter + loadAdapter';

function rowOf(shown: string, name: string, entry: string): string {
  const [atOnce, later] = [name, `loaded later by ${name}`].map(key => Math.round((SIZES[key] ?? 0) / 1000));
  return `| ${shown} | ${atOnce} | ${later} | ${Math.round(MILLISECONDS[entry] ?? NaN)} |`;
}

/** A page with its table of sizes written anew. */
export function withCosts(page: string): string {
  const entries = ['tfjs-lora', ...ENTRIES.filter(name => name !== 'node').map(importName)];
  const rows = [
    '| import | kB with the page | kB later | ms |',
    '| --- | ---: | ---: | ---: |',
    rowOf(FOUR.replace(/\w+/g, '`$&`').replaceAll(' +', ','), FOUR, 'tfjs-lora'),
    ...entries.map(name => rowOf(`\`${name}\``, name, name)),
    rowOf('all of them together', 'all entry points together', 'all entry points together'),
  ];
  return page.replace(/(?<=## Sizes[^|]*\n\n)(?:\|.*\n)+/, `${rows.join('\n')}\n`);
}
