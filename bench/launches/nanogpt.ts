import {selectBackend} from 'nanogpt/backend.js';
import {models} from 'nanogpt/main.js';
import BasicTrainer from 'nanogpt/training/BasicTrainer.js';
import {GPTS, LEARNING_RATE, RANK, text} from './gpt';
import {type Launches, measure, watchDevice, watchTensors} from './meter';

/** What is used of its tfjs, which it exports under no name. */
interface Engine {
  makeTensor: (values: Int32Array, shape: number[], dtype: 'int32') => unknown;
}

async function count(backend: 'webgpu' | 'webgl', name: keyof typeof GPTS, steps: number): Promise<Launches> {
  watchDevice();
  await selectBackend(backend);
  watchTensors();
  const gpt = GPTS[name];
  const {layers, heads, width, positions, batch, vocabulary} = gpt;
  const model = new models.NanoGPTV1({
    ...{modelType: 'GenAI_NanoGPT_v1', vocabSize: vocabulary, blockSize: positions, nLayer: layers, nHead: heads},
    ...{nEmbed: width, mlpFactor: 4, useRope: true},
  });
  const read = text(gpt);
  const engine = (globalThis as unknown as {_tfengine: Engine})._tfengine;
  const tensor = (values: Int32Array) => engine.makeTensor(values, [batch, positions], 'int32');
  const trainer = new BasicTrainer(model, null, {learningRate: LEARNING_RATE});
  // Its layers make some of their weights when they are first computed.
  await trainer.dummyPass();
  model.createLoRA('lora', {rank: RANK, alpha: RANK, variables: ['block_*_c*', 'block_*_mlp*']});
  model.attachLoRA('lora');
  const [xs, ys] = [tensor(read.ids), tensor(read.next)];
  return measure(async () => {
    const loss = trainer.trainStep({}, {xs, ys});
    const [value] = await loss.data();
    loss.dispose();
    return value!;
  }, steps);
}

(window as unknown as {count: typeof count}).count = count;
