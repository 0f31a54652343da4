import {spawnSync} from 'node:child_process';
import {join} from 'node:path';
import {nameOf, readReports} from './everywhere/report';

const ROOT = join(__dirname, '../..');

// The suite runs outside of jest, in a process or a page for each backend. It is over before the tests are named, since
// they are its cases.
const {status} = spawnSync(process.execPath, ['--import', 'tsx', join(__dirname, 'everywhere/run.ts')], {
  cwd: ROOT,
  stdio: ['ignore', 'ignore', 'inherit'],
});
const reports = readReports(ROOT) ?? [];

test('the suite ran', () => {
  expect(status).toBe(0);
  expect(reports).toHaveLength(8);
});

describe.each(reports.map(report => [nameOf(report), report] as const))('on %s', (name, report) => {
  const {missing, failure, outcomes} = report;
  if (missing !== undefined) {
    // A machine of one's own need not have every backend; continuous integration must.
    const declare = process.env.CI === 'true' ? test : test.skip;
    declare('the backend is there', () => {
      throw new Error(`${name} is not there. ${missing}`);
    });
    return;
  }

  test.each(outcomes.map(outcome => [outcome.kind ?? 'a model', outcome.behaviour, outcome] as const))(
    '%s: %s',
    (_kind, _behaviour, {error, deviation, tolerance}) => {
      expect(error).toBeUndefined();
      expect(deviation).toBeLessThanOrEqual(tolerance);
    },
  );

  test('the suite comes to its end', () => {
    expect(failure).toBeUndefined();
    expect(outcomes.length).toBeGreaterThan(0);
  });
});
