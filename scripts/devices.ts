// The table of docs/performance.md: LoRA steps on the devices of bench/devices, whose files the page that measures a
// device downloads. `npx tsx scripts/devices.ts` writes it anew.

import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Summary} from '../bench/measure';
import type {Result} from '../bench/page/result';

const FOLDER = 'bench/devices';
const PAGE = 'docs/performance.md';

/** The results of all devices, by the names of their files. */
export function readDevices(): Record<string, Result> {
  const files = readdirSync(FOLDER).filter(name => name.endsWith('.json'));
  return Object.fromEntries(files.map(name => [name, JSON.parse(readFileSync(join(FOLDER, name), 'utf8')) as Result]));
}

/** The browser and its version, from what it says of itself. */
function browserOf(userAgent: string): string {
  const [, name, version] = /(Edg|OPR|Firefox|Chrome|Version)\/(\d+)/.exec(userAgent) ?? [];
  const names: Readonly<Record<string, string>> = {Edg: 'Edge', OPR: 'Opera', Version: 'Safari'};
  return name === undefined ? userAgent : `${names[name] ?? name} ${version}`;
}

/** What computes on a backend. A renderer in software is no card. */
function processorOf(backend: string, {device}: Result): string {
  const card = backend === 'webgl' ? device.webgl : backend === 'webgpu' ? device.webgpu : undefined;
  return card === undefined
    ? `${device.cores} cores`
    : /swiftshader|llvmpipe/i.test(card)
      ? 'a renderer in software'
      : card;
}

function textOf(summary: Summary | undefined): string {
  return summary === undefined
    ? '–'
    : `${summary.median.toFixed(1)} (${summary.low.toFixed(1)} to ${summary.high.toFixed(1)})`;
}

function rowsOf(result: Result): string[] {
  return result.backends.flatMap(({name, cases}) =>
    cases.flatMap(({name: of, runs}) =>
      runs
        .filter(({run, error}) => run === 'lora' && error === undefined)
        .map(({ms, toPredict, toFull, launches}) =>
          [
            ...[browserOf(result.device.browser), processorOf(name, result), name, of],
            ...[ms?.median.toFixed(1) ?? '–', textOf(toPredict), textOf(toFull), String(launches ?? '–')],
          ].join(' | '),
        ),
    ),
  );
}

/** A page with its table of devices written anew. */
export function withDevices(page: string): string {
  const rows = [
    'browser | processor | backend | case | LoRA step, ms | ÷ predict | ÷ full step | launches',
    '--- | --- | --- | --- | ---: | ---: | ---: | ---:',
    ...Object.values(readDevices()).flatMap(rowsOf),
  ];
  return page.replace(/(?<=### Measured devices[^|]*\n\n)(?:\|.*\n)+/, rows.map(row => `| ${row} |\n`).join(''));
}

if (process.argv[1]?.endsWith('devices.ts') === true) {
  writeFileSync(PAGE, withDevices(readFileSync(PAGE, 'utf8')));
}
