import {useBackend} from '../../helpers';
import {NAMES} from './fixtures';
import {expectTorchResults} from './torchResults';

// `npm run check -- models-cpu` runs all of them, and the tests a fifth that is drawn anew each time.
const drawn = Math.floor(Math.random() * 5);
const names = process.env.LORA_MODELS === 'all' ? NAMES : NAMES.filter((_, i) => i % 5 === drawn);

test.each(names)('on cpu, %s and an adapter of PEFT compute what PyTorch computes, with gradients', async name => {
  await useBackend('cpu');
  await expectTorchResults(name);
});
