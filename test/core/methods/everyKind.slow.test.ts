import * as tf from '@tensorflow/tfjs';
import {casesOf} from '../../backends/everywhere/kindCases';
import {type Kind, METHOD_KINDS} from '../../backends/everywhere/kinds';
import {useBackend} from '../../helpers';

const ROWS = METHOD_KINDS.map((kind): [name: string, kind: Kind] => [`${kind.label ?? ''}${kind.name}`, kind]);

/** The suite of all backends runs what depends on the backend on the others too. */
const backend = 'wasm';

describe('on wasm', () => {
  beforeEach(async () => {
    await useBackend(backend);
    tf.engine().startScope();
  });
  afterEach(() => tf.engine().endScope());

  test.each(ROWS)(
    '%s is exact at birth, trains, merges, saves and loads, and leaks nothing',
    async (_, kind) => {
      for (const one of casesOf(kind)) {
        const {behaviour, tolerance} = one;
        await useBackend(backend);
        const deviation = await one.run(backend);
        expect({behaviour, isFine: deviation <= tolerance, deviation}).toEqual({behaviour, isFine: true, deviation});
      }
    },
    120_000,
  );
});
