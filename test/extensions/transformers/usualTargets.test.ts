import {planLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {fixture, NAMES} from './fixtures';
import {useBackend} from '../../helpers';

beforeAll(() => useBackend('cpu'));

// The names that families give the layer whose outputs are those of the model.
const HEADS = /(^|\/)(lm_head|classifier|score|qa_outputs|decoder|vocab_projector)$/;

/** Networks of convolutions, whose layers are adapted as those of any other model. */
const CONVOLUTIONAL = /^(resnet|convnext|dinov3ConvNext|mobilenet|efficientnet)/;

test.each(NAMES.filter(name => !CONVOLUTIONAL.test(name)))(
  '%s: linear layers are adapted by default, and neither embeddings nor the head',
  async name => {
    const {config, weights, pooling, tied} = fixture(name);
    const {model} = await loadTransformer({config, weights, tied, pooling});
    const {layers, faults} = planLoRA(model, {rank: 1});
    expect(faults).toEqual([]);
    const adapted = layers.filter(({role}) => role === 'adapted');
    expect(adapted.length).toBeGreaterThan(3);
    expect(adapted.filter(({className}) => className !== 'Dense')).toEqual([]);
    expect(adapted.map(({path}) => path).filter(path => HEADS.test(path))).toEqual([]);
  },
);

test.each(NAMES.filter(name => CONVOLUTIONAL.test(name)))('%s: convolutions are adapted by default', async name => {
  const {config, weights, pooling} = fixture(name);
  const {model} = await loadTransformer({config, weights, pooling});
  const {layers, faults} = planLoRA(model, {rank: 1});
  expect(faults).toEqual([]);
  const classesOf = (role: string) => layers.filter(layer => layer.role === role).map(({className}) => className);
  expect(classesOf('adapted')).toContain('Conv2D');
  // One filter of few weights for each channel has nothing that a low rank would save.
  expect(classesOf('skipped').filter(className => className !== 'DepthwiseConv2D')).toEqual([]);
});
