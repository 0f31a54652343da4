import {readdirSync, readFileSync} from 'node:fs';

// The table "One form for one thing" of `docs/stability.md`, held over the files in `api/`.

const LINES = readdirSync('api').flatMap(name => readFileSync(`api/${name}`, 'utf8').split('\n'));

/** The lines that declare a member or an argument of a name. */
const declaring = (name: string) => LINES.filter(line => new RegExp(String.raw`\b${name}\??: `).test(line));

test('no name says that it counts milliseconds', () => {
  expect(LINES.filter(line => /\b\w*(Ms|Millis\w*)\b\??:/.test(line))).toEqual([]);
});

test('onProgress has one shape, which that of training extends', () => {
  expect(LINES.filter(line => /onProgress\?: /.test(line)).map(line => line.trim())).toEqual(
    expect.arrayContaining(['onProgress?: (progress: TrainingProgress) => void;']),
  );
  const shapes = new Set(declaring('onProgress').map(line => /\w*Progress(?=\b(?!\?))(?!.*Progress)/.exec(line)?.[0]));
  expect([...shapes].sort()).toEqual(['OnProgress', 'TrainingProgress']);
  expect(LINES.filter(line => /^interface TrainingProgress extends \w*Progress \{$/.test(line))).not.toEqual([]);
});

test('a signal is an AbortSignal', () => {
  expect(declaring('signal').filter(line => !line.includes('AbortSignal'))).toEqual([]);
});

test('metrics are one or a list', () => {
  const named = LINES.filter(line => /\bmetrics\?: Metric/.test(line) && !/metrics\?: Metrics;/.test(line));
  expect(named).toHaveLength(2);
  expect(named.filter(line => !/\| readonly (?:Metric\[\]|\(MetricName \| MetricFunction\)\[\])/.test(line))).toEqual(
    [],
  );
});

// `test/callOptions.test.ts` calls them.
test('options that report progress take a signal as well', () => {
  const interfaces = LINES.join('\n').match(/^interface \w+[^{]*\{[^}]*\}/gm) ?? [];
  const reporting = interfaces.filter(text => /onProgress\?:/.test(text));
  expect(reporting).not.toEqual([]);
  expect(reporting.filter(text => !/signal\?: AbortSignal/.test(text))).toEqual([]);
});

test('a seed is a number', () => {
  expect(declaring('seed').length).toBeGreaterThan(5);
  expect(declaring('seed').filter(line => !/\bseed\??: number\b/.test(line))).toEqual([]);
});

test('validation data and losses have one form', () => {
  expect(LINES.filter(line => /\bvalidation\??:/.test(line))).toEqual([]);
  const losses = LINES.filter(line => /^(?:@experimental )?function \w+(?:Loss|CrossEntropy|FromLogits)\(/.test(line));
  const isOne = (line: string) => /\((?:_?targets: tf\.Tensor|options|anchors)/.test(line);
  expect(losses.length).toBeGreaterThan(5);
  expect(losses.filter(line => !isOne(line))).toEqual([]);
});

test('sizes count samples, and frequencies are in Hz', () => {
  const options = LINES.slice(LINES.indexOf('interface LogMelOptions {'));
  expect(options.slice(0, 16).filter(line => /\b(hop|window)\?:/.test(line))).toEqual([]);
  const masks = LINES.slice(
    LINES.indexOf('interface SpecAugmentOptions {'),
    LINES.indexOf('interface SpecAugmentOptions {') + 8,
  );
  expect(masks.filter(line => /maxFrequency|maxTime/.test(line))).toEqual([]);
});
