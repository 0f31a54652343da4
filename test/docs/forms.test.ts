import {readdirSync, readFileSync} from 'node:fs';
import type * as tf from '@tensorflow/tfjs';
import type {focalLoss} from 'tfjs-lora';
import type {landmarkLoss} from 'tfjs-lora/landmarks';
import type {ctcLoss} from 'tfjs-lora/sound';
import type {crossEntropyFromLogits, pairLoss, sigmoidPairLoss, spanCrossEntropy} from 'tfjs-lora/transformers';

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

type Loss = (targets: tf.Tensor, outputs: tf.Tensor) => tf.Tensor;
type NamesOf<Losses extends Record<string, Loss>> = Readonly<Record<keyof Losses, true>>;

/** The losses, which the compiler compares with the form. */
const LOSSES: NamesOf<{
  crossEntropyFromLogits: typeof crossEntropyFromLogits;
  ctcLoss: typeof ctcLoss;
  focalLoss: ReturnType<typeof focalLoss>;
  landmarkLoss: ReturnType<typeof landmarkLoss>;
  pairLoss: typeof pairLoss;
  sigmoidPairLoss: typeof sigmoidPairLoss;
  spanCrossEntropy: typeof spanCrossEntropy;
}> = {
  ...{crossEntropyFromLogits: true, ctcLoss: true, focalLoss: true, landmarkLoss: true},
  ...{pairLoss: true, sigmoidPairLoss: true, spanCrossEntropy: true},
};

/** They compare two outputs. */
const LOSSES_OF_PAIRS = ['cosineLoss', 'rankingLoss'];

test('losses are functions of targets and outputs, or return one', () => {
  const names = LINES.flatMap(
    line => /^(?:@experimental )?function (\w+(?:Loss|Entropy|FromLogits))\(/.exec(line)?.[1] ?? [],
  );
  expect(names.sort()).toEqual([...Object.keys(LOSSES), ...LOSSES_OF_PAIRS].sort());
});

test('validation data have one form', () => {
  expect(LINES.filter(line => /\bvalidation\??:/.test(line))).toEqual([]);
  const forms = declaring('validationData').map(line => /: (.*)/.exec(line)?.[1]);
  expect(forms).toEqual([
    "FitArgs['validationData'] | Batches;",
    'FineTuneData;',
    'readonly [ xs: tf.Tensor | tf.Tensor[], ys: tf.Tensor | tf.Tensor[] ];',
  ]);
});

test('sizes count samples, and frequencies are in Hz', () => {
  const membersOf = (name: string) =>
    new RegExp(`^interface ${name}\\b[^{]*\\{\\n([^}]*)\\}`, 'm').exec(LINES.join('\n'))![1]!.match(/\w+(?=\??: )/g)!;
  expect(membersOf('LogMelOptions')).toEqual(
    expect.arrayContaining(['fftSize', 'hopSize', 'maxFrequency', 'minFrequency', 'windowSize']),
  );
  expect(membersOf('SpecAugmentOptions')).toEqual(expect.arrayContaining(['maxMels']));
  expect([...membersOf('LogMelOptions'), ...membersOf('SpecAugmentOptions')]).not.toContain('hop');
  expect(membersOf('SpecAugmentOptions')).not.toContain('maxFrequency');
});
