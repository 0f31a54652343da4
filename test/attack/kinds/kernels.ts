import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import 'tfjs-lora/graph';
import {randomFrom} from '../damage';
import {caseSeed, kernelCase} from '../kernels/cases';
import {outcomeOf} from '../kernels/outcome';
import {StockProcess} from '../kernels/stockProcess';
import {faultOf} from '../kernels/verdict';
import {type AttackKind, WrongLoad} from '../kind';

/**
 * Our kernels on operands of random shapes and dtypes, on wasm and cpu, beside stock tfjs in a process of its own. They
 * compute and refuse the same. Where the stock wasm backend is wrong, they compute what cpu does, whose sums are of
 * doubles.
 */
export const kernels: AttackKind = {
  name: 'a kernel of random shapes',
  isValid: true,
  prepare: async () => {
    const stock = new StockProcess();
    await tf.setBackend('wasm');
    await tf.setBackend('cpu');
    return {
      whole: [{seed: 1}],
      make: random => ({seed: caseSeed(random)}),
      models: [],
      use: async parts => {
        const seed = parts.seed as number;
        const tried = kernelCase(randomFrom(seed));
        const expected = await stock.outcomesOf(seed);
        const ofLibrary = await outcomeOf(seed);
        await tf.setBackend('wasm');
        const actual = await outcomeOf(seed);
        await tf.setBackend('cpu');
        const fault = faultOf(tried, actual, {stock: expected.wasm, cpu: expected.cpu, ofLibrary});
        if (fault !== undefined) {
          throw new WrongLoad(`Kernel case ${seed}: ${fault}`);
        }
      },
    };
  },
};
