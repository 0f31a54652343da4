import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  type AdapterScope,
  applyLoRA,
  disposeModel,
  getAdapter,
  LoRAError,
  safeMergeLoRA,
  predictWith,
  setAdapter,
  measureLoRA,
  withAdapter,
} from '../../../src/index';
import {loraSites} from '../../../src/core/model/adapted';
import {numbers, withoutLeaks} from '../../helpers';
import {mlp, nested, predictions, stirFactors} from '../../models';

/** A model with an adapter of its own, two others, and what it predicts under each and under none. */
function setting() {
  const {model, inputs} = mlp();
  const adapterOf = (seed: number, rank: number) => {
    const donor = applyLoRA(model, {rank});
    stirFactors(donor, seed);
    return getAdapter(donor);
  };
  const adapted = applyLoRA(model, {rank: 2});
  stirFactors(adapted, 70);
  const [cats, lions] = [adapterOf(7, 1), adapterOf(8, 3)];
  const predicted = () => predictions(adapted, inputs);
  const under = (adapter: Adapter) => predictions(applyLoRA(model, adapter), inputs);
  const expected = {own: predicted(), cats: under(cats), lions: under(lions), none: predictions(model, inputs)};
  return {model, adapted, inputs, cats, lions, predicted, expected};
}

/** A promise that is settled from outside. */
function gate() {
  let open!: () => void;
  const opened = new Promise<void>(resolve => (open = resolve));
  return {open, opened};
}

const pause = () => new Promise<void>(resolve => setTimeout(resolve));

describe('while a withAdapter waits for a promise', () => {
  const OVERLAP = /is open until the promise of its function settles.*scope.*applyLoRA\(base, adapter\)/s;

  test.each<[string, (model: tf.LayersModel, adapter: Adapter) => unknown]>([
    ['another one that is asynchronous', (model, adapter) => withAdapter(model, adapter, async () => pause())],
    ['another one that returns a promise', (model, adapter) => withAdapter(model, adapter, () => pause())],
    ['setAdapter', (model, adapter) => setAdapter(model, adapter)],
    ['setAdapter of none', model => setAdapter(model, null)],
  ])('%s is refused, and neither sees the adapter of the other', async (_, change) => {
    const {adapted, cats, lions, predicted, expected} = setting();
    const seen: number[][][] = [];
    const first = withAdapter(adapted, cats, async () => {
      seen.push(predicted());
      await pause();
      seen.push(predicted());
    });
    expect(() => change(adapted, lions)).toThrow(LoRAError);
    expect(() => change(adapted, lions)).toThrow(OVERLAP);
    await first;
    expect(seen).toEqual([expected.cats, expected.cats]);
    expect(predicted()).toEqual(expected.own);
    await change(adapted, lions);
    expect(predicted()).not.toEqual(expected.cats);
  });

  test('an asynchronous function that is refused does not begin', async () => {
    const {adapted, cats, lions} = setting();
    const first = withAdapter(adapted, cats, pause);
    const second = jest.fn();
    // An async function by itself, which a mock is not.
    expect(() =>
      withAdapter(adapted, lions, async () => {
        second();
        await pause();
      }),
    ).toThrow(LoRAError);
    expect(second).not.toHaveBeenCalled();
    await first;
  });

  test('synchronous calls are allowed, wherever they come from', async () => {
    const {adapted, inputs, cats, lions, predicted, expected} = setting();
    const {open, opened} = gate();
    const seen: number[][][] = [];
    const first = withAdapter(adapted, cats, async () => {
      await opened;
      seen.push(predicted());
    });
    expect(withAdapter(adapted, lions, predicted)).toEqual(expected.lions);
    expect(predicted()).toEqual(expected.cats);
    const rows = [lions, null, cats, lions];
    const together = numbers(predictWith(adapted, inputs[0]!, rows) as tf.Tensor);
    const row = (all: number[][], i: number) => all[0]!.slice(3 * i, 3 * i + 3);
    expect(together).toBeAllClose([
      ...row(expected.lions, 0),
      ...row(expected.none, 1),
      ...row(expected.cats, 2),
      ...row(expected.lions, 3),
    ]);
    // Inside of one that is over before anything else runs, all is in order.
    withAdapter(adapted, lions, () => {
      setAdapter(adapted, null);
      expect(predicted()).toEqual(expected.none);
      expect(() => withAdapter(adapted, cats, () => pause())).toThrow(LoRAError);
      expect(predicted()).toEqual(expected.none);
    });
    open();
    await first;
    expect(seen).toEqual([expected.cats]);
    expect(predicted()).toEqual(expected.own);
  });

  test('its scope lets its own function change the adapter', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    await withoutLeaks(async () => {
      await withAdapter(adapted, cats, async scope => {
        expect(scope.model).toBe(adapted);
        await pause();
        const inner = await withAdapter(scope, lions, async within => {
          await pause();
          expect(() => setAdapter(scope, null)).toThrow(OVERLAP); // the inner one is open
          setAdapter(within, null);
          expect(predicted()).toEqual(expected.none);
          setAdapter(within, lions);
          return predicted();
        });
        expect(inner).toEqual(expected.lions);
        expect(predicted()).toEqual(expected.cats);
        setAdapter(scope, null);
        expect(predicted()).toEqual(expected.none);
      });
    });
    expect(predicted()).toEqual(expected.own);
  });

  test('two calls inside of it that overlap are refused', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    await withAdapter(adapted, cats, async scope => {
      await pause();
      const inner = withAdapter(scope, lions, pause);
      expect(() => withAdapter(scope, null, pause)).toThrow(OVERLAP);
      await inner;
    });
    expect(predicted()).toEqual(expected.own);
  });

  test("one inside of a function that returns no promise is refused, and how its promise ends is nobody's concern", async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    const unhandled = jest.fn();
    process.on('unhandledRejection', unhandled);
    expect(() =>
      withAdapter(adapted, cats, scope => {
        withAdapter(scope, lions, () => Promise.reject(new Error('late'))).catch(() => undefined);
      }),
    ).toThrow(LoRAError);
    await pause();
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
    expect(predicted()).toEqual(expected.own);
  });

  test('it waits for what is open inside of it', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    const {open, opened} = gate();
    let inner: Promise<void> | undefined;
    const outer = withAdapter(adapted, cats, async scope => {
      await pause();
      inner = withAdapter(scope, lions, () => opened); // nobody awaits it
    });
    await pause();
    await pause();
    expect(predicted()).toEqual(expected.lions);
    expect(() => setAdapter(adapted, null)).toThrow(OVERLAP);
    open();
    await outer;
    expect(predicted()).toEqual(expected.own);
    await inner;
    expect(predicted()).toEqual(expected.own);
  });

  test('layers that another model shares are in use too', async () => {
    const {model, inputs} = nested();
    const adapted = applyLoRA(model, {rank: 2});
    stirFactors(adapted);
    const inner = adapted.getLayer('body') as tf.LayersModel;
    const before = predictions(adapted, inputs);
    const outer = withAdapter(adapted, null, pause);
    expect(() => setAdapter(inner, null)).toThrow(LoRAError);
    expect(() => withAdapter(inner, null, pause)).toThrow(LoRAError);
    await outer;
    await withAdapter(inner, null, pause);
    expect(predictions(adapted, inputs)).toEqual(before);
  });

  test('a model is in use if one of its layers is', async () => {
    const {model} = nested();
    const adapted = applyLoRA(model, {rank: 2});
    const inner = adapted.getLayer('body') as tf.LayersModel;
    expect(loraSites(inner).length).toBeLessThan(loraSites(adapted).length);
    const part = withAdapter(inner, null, pause);
    expect(() => setAdapter(adapted, null)).toThrow('may come from outside');
    await part;
    setAdapter(adapted, null);
  });

  test('other models are free', async () => {
    const {model, adapted, inputs, cats, lions, expected} = setting();
    const other = applyLoRA(model, cats);
    const first = withAdapter(adapted, cats, pause);
    await withAdapter(other, lions, async () => {
      await pause();
      expect(predictions(other, inputs)).toEqual(expected.lions);
    });
    setAdapter(other, null);
    expect(predictions(other, inputs)).toEqual(expected.none);
    await first;
  });
});

describe('withAdapter', () => {
  test('nests in its own function, before the first await', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    const seen = await withAdapter(adapted, cats, () =>
      withAdapter(adapted, lions, async () => {
        await pause();
        return predicted();
      }),
    );
    expect(seen).toEqual(expected.lions);
    expect(predicted()).toEqual(expected.own);
  });

  test('refuses a scope that is over', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    let kept: AdapterScope | undefined;
    await withAdapter(adapted, cats, async scope => {
      kept = scope;
      await pause();
    });
    for (const use of [() => setAdapter(kept!, lions), () => withAdapter(kept!, lions, predicted)]) {
      expect(use).toThrow(LoRAError);
      expect(use).toThrow('a withAdapter that has ended');
    }
    expect(predicted()).toEqual(expected.own);
  });

  test('refuses to return before what is open inside of it, and the former adapter is back after that', async () => {
    const {adapted, cats, lions, predicted, expected} = setting();
    let inner: Promise<void> | undefined;
    const leave = () =>
      withAdapter(adapted, cats, () => {
        inner = withAdapter(adapted, lions, () => pause());
        return 1;
      });
    expect(leave).toThrow(LoRAError);
    await inner;
    await pause();
    expect(predicted()).toEqual(expected.own);
    expect(withAdapter(adapted, cats, predicted)).toEqual(expected.cats);
  });

  test('gives what its function gives, and what that throws, in each order', async () => {
    const {adapted, cats, predicted, expected} = setting();
    await withoutLeaks(async () => {
      await expect(withAdapter(adapted, cats, async () => Promise.resolve(3))).resolves.toBe(3);
      const fails = withAdapter(adapted, cats, async () => {
        await pause();
        throw new Error('mine');
      });
      await expect(fails).rejects.toThrow('mine');
    });
    expect(predicted()).toEqual(expected.own);
  });

  test.each<[string, (model: tf.LayersModel) => unknown]>([
    ['at once', model => withAdapter(model, null, () => disposeModel(model))],
    [
      'after a while',
      model =>
        withAdapter(model, null, async () => {
          await pause();
          disposeModel(model);
        }),
    ],
    [
      'with another adapter on it, of another rank',
      model =>
        withAdapter(model, null, () => {
          const {model: base, inputs} = mlp();
          const donor = applyLoRA(base, {rank: 1});
          const adapter = getAdapter(donor);
          setAdapter(model, adapter);
          [donor, base, model].forEach(disposeModel);
          tf.dispose([inputs, adapter.tensors]);
        }),
    ],
  ])('leaves nothing of a model that is disposed inside: %s', async (_, use) => {
    const {model} = mlp();
    await withoutLeaks(async () => {
      await use(applyLoRA(model, {rank: 2}));
    });
  });

  test('throws what its function throws after it has disposed the model', () => {
    const {adapted, cats} = setting();
    const fail = () => {
      disposeModel(adapted);
      throw new Error('mine');
    };
    expect(() => withAdapter(adapted, cats, fail)).toThrow('mine');
  });
});

test('the adapter of a model that was disposed is neither read nor set', async () => {
  const {adapted, cats} = setting();
  disposeModel(adapted);
  await withoutLeaks(() => {
    for (const use of [
      () => getAdapter(adapted),
      () => setAdapter(adapted, cats),
      () => withAdapter(adapted, cats, () => 1),
    ]) {
      expect(use).toThrow(LoRAError);
      expect(use).toThrow('The model was disposed');
    }
  });
});

test('the adapter of a model is not read either if one of its layers was disposed', () => {
  const {adapted, cats} = setting();
  const [layer, ...others] = adapted.layers.filter(each => each.getClassName() === 'tfjs-lora>LoRADense');
  expect(others.length).toBeGreaterThan(0);
  disposeModel(layer!);
  expect(() => getAdapter(adapted)).toThrow('The model was disposed');
  expect(() => setAdapter(adapted, cats)).toThrow('The model was disposed');
});

test('getAdapter and safeMergeLoRA read one adapter, whatever is set while the result is awaited', async () => {
  const {model, adapted, inputs, cats, lions, expected} = setting();
  setAdapter(adapted, cats);
  const snapshot = getAdapter(adapted);
  const merging = safeMergeLoRA(adapted);
  setAdapter(adapted, lions);
  const merged = await merging;
  setAdapter(adapted, null);
  expect(predictions(merged, inputs)[0]).toBeAllClose(expected.cats[0]!);
  expect(predictions(applyLoRA(model, snapshot), inputs)).toEqual(expected.cats);
});

test('diagnostics and a summary with norms describe one adapter, whatever is set while they are awaited', async () => {
  const {adapted, cats, lions} = setting();
  setAdapter(adapted, cats);
  const {layer} = loraSites(adapted)[0]!;
  const expected = await layer.getDiagnostics();
  const summary = String(await measureLoRA(adapted));
  const diagnosing = layer.getDiagnostics();
  const summarizing = measureLoRA(adapted);
  setAdapter(adapted, lions);
  expect(await diagnosing).toEqual(expected);
  expect(String(await summarizing)).toBe(summary);
});
