#!/usr/bin/env node
import {fileURLToPath} from 'node:url';
import {main} from './cli/main';

let code: number | undefined;
let isCut = false;

process.stdout.on('error', ({code: reason, message}: NodeJS.ErrnoException) => {
  isCut = true;
  if (reason !== 'EPIPE') {
    process.stderr.write(`The results cannot be written: ${message}\n`); // and where nobody reads on, nobody asks
  }
});
process.stderr.on('error', () => undefined); // the exit code tells it

process.once('exit', () => {
  if (code === undefined) {
    process.stderr.write(
      'The command did not finish: it waits for something that never happens, or the module of --register ended ' +
        'the process.\n',
    );
  }
  process.exitCode = code || (code === undefined || isCut ? 1 : 0);
});

void main(process.argv.slice(2), undefined, fileURLToPath(new URL('../docs/', import.meta.url))).then(
  result => (code = result),
);
