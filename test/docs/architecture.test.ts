import {readFileSync} from 'node:fs';
import {Session} from 'node:inspector/promises';
import {join, relative} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {LoRADense} from '../../src/core/layers/loraDense';

const SRC = join(__dirname, '../../src');

/** The files of `src` with a function that `run` calls. */
async function filesIn(run: () => void): Promise<string[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', {callCount: true, detailed: false});
  run();
  const {result} = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  return result
    .filter(({functions}) => functions.some(({ranges}) => ranges.some(({count}) => count > 0)))
    .map(({url}) => relative(SRC, url.replace('file://', '')))
    .filter(path => !path.startsWith('..'));
}

describe('"A LoRA layer in five minutes"', () => {
  const page = readFileSync(join(__dirname, '../../docs/architecture.md'), 'utf8');
  const [, section = ''] = /## A LoRA layer in five minutes\n([^]*?)\nSome kinds work/.exec(page) ?? [];
  const steps = [...section.matchAll(/^\d\. `([\w/]+\.ts)`/gm)].map(([, path]) => path!);

  test('has a step for each of at most eight files', () => {
    expect(steps.length).toBeGreaterThan(4);
    expect(steps.length).toBeLessThanOrEqual(8);
    expect(new Set(steps).size).toBe(steps.length);
  });

  test('names all files that run in a training step and in a prediction of LoRADense', async () => {
    await tf.setBackend('cpu');
    const layer = new LoRADense({layer: tf.layers.dense({units: 4, inputShape: [6], activation: 'relu'}), rank: 2});
    const x = tf.ones([3, 6]);
    const run = () =>
      tf.tidy(() => {
        layer.apply(x);
        tf.variableGrads(() => tf.sum(layer.apply(x, {training: true}) as tf.Tensor));
      });
    run(); // builds the layer and registers what it needs
    const ran = await filesIn(run);
    const named = [...section.matchAll(/`([\w/]+\.ts)`/g)].map(([, path]) => path!);
    expect(ran.sort()).toEqual([...named].sort());
  });
});
