import {adam, applyLoRA, checkpoint, findLearningRate, resume} from 'tfjs-lora';
import {random} from '../../helpers';
import {MemoryHandler, mlp} from '../../models';

test('the random numbers of layers go on from a checkpoint, and are as before after a sweep', async () => {
  const {model: base, inputs} = mlp();
  const y = random([inputs[0]!.shape[0], 3], 1);
  const make = () => {
    const model = applyLoRA(base, {rank: 2, seed: 1});
    model.compile({optimizer: adam(), loss: 'meanSquaredError'});
    return {model, layer: model.getLayer('hidden') as unknown as {dropout: {seed: number; step: number}}};
  };
  const seen = (layer: object, seed: number, step: number) =>
    Object.defineProperty(layer, 'dropout', {value: {seed, step}, configurable: true});
  const [first, second] = [make(), make()];
  seen(first.layer, 5, 17);
  seen(second.layer, 6, 0);
  const handler = new MemoryHandler();
  await first.model.fit(inputs[0]!, y, {verbose: 0, callbacks: [checkpoint(handler)]});
  await resume(second.model, handler);
  expect(second.layer.dropout).toEqual({seed: 5, step: 17});
  const sweep = findLearningRate(second.model, inputs[0]!, y, {steps: 10});
  second.layer.dropout.step = 40;
  await sweep;
  expect(second.layer.dropout).toEqual({seed: 5, step: 17});
});
