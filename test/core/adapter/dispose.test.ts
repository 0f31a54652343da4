test('an adapter has Symbol.dispose where the engine has it, as it was made', () => {
  const dispose = Symbol('Symbol.dispose');
  const former = Object.getOwnPropertyDescriptor(Symbol, 'dispose');
  Object.defineProperty(Symbol, 'dispose', {value: dispose, configurable: true});
  try {
    jest.isolateModules(() => {
      /* oxlint-disable typescript/no-require-imports */
      const tf = require('@tensorflow/tfjs') as typeof import('@tensorflow/tfjs');
      const {applyLoRA, getAdapter} = require('../../../src') as typeof import('../../../src');
      const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
      const adapter = getAdapter(applyLoRA(base, {rank: 1}));
      (adapter as unknown as Record<symbol, () => void>)[dispose]!();
      expect(() => applyLoRA(base, adapter)).toThrow('disposed');
    });
  } finally {
    if (former === undefined) {
      delete (Symbol as {dispose?: symbol}).dispose;
    } else {
      Object.defineProperty(Symbol, 'dispose', former);
    }
  }
});
