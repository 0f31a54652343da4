import {disposeModel, planLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {useBackend} from '../../helpers';
import {fixture, NAMES} from './fixtures';

beforeAll(() => useBackend('cpu'));

// The names that families give the layer whose outputs are those of the model.
const HEADS = /(^|\/)(lm_head|classifier|score|qa_outputs|decoder|vocab_projector)$/;

test.each(NAMES)('%s: linear layers are adapted by default, and neither embeddings nor the head', async name => {
  const {config, weights, pooling, tied} = fixture(name);
  const {model} = await loadTransformer({config, weights, tied, pooling});
  const {layers, faults} = planLoRA(model, {rank: 1});
  expect(faults).toEqual([]);
  const adapted = layers.filter(({role}) => role === 'adapted');
  expect(adapted.length).toBeGreaterThan(3);
  expect(adapted.filter(({className}) => className !== 'Dense')).toEqual([]);
  expect(adapted.map(({path}) => path).filter(path => HEADS.test(path))).toEqual([]);
  disposeModel(model);
});
