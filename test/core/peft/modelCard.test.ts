import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, LoRAError, modelCard} from 'tfjs-lora';

const adapted = () =>
  applyLoRA(
    tf.sequential({
      layers: [
        tf.layers.dense({units: 4, inputShape: [4], name: 'hidden'}),
        tf.layers.dense({units: 2, inputShape: [4], name: 'out'}),
      ],
    }),
    {rank: 2, alpha: 4, seed: 1, targets: ['hidden'], trainInFull: ['out']},
  );

test('a card says how the adapter was made', async () => {
  const model = adapted();
  model.compile({optimizer: adamW({learningRate: 0.01}), loss: 'meanSquaredError'});
  const history = await model.fit(tf.zeros([4, 4]), tf.ones([4, 2]), {epochs: 2, verbose: 0});
  const card = modelCard(model, {
    name: 'Tones: "warm"\n# not a title',
    description: 'Judges tones.',
    baseModel: 'some/base',
    license: 'mit',
    data: {training: 900, validation: 100},
    settings: {'batch size': 16, 'loss | weights': 'a|b'},
    history,
  });
  const [, header, body] = card.split('---\n', 3);
  expect(header).toBe('base_model: "some/base"\nlibrary_name: "peft"\nlicense: "mit"\ntags: ["lora","tfjs-lora"]\n');
  expect(body).toMatch(/^\n# Tones: "warm" # not a title\n\nJudges tones\.\n\n## Adapter\n/);
  const rows = [
    '| method | lora |',
    '| rank | 2 |',
    '| alpha | 4 |',
    '| adapted layers | 1 |',
    '| layers that train in full | out |',
    '| trained parameters | 26 of 46 |', // 2·(4 + 4) and 4·2 + 2, of 20 + 16 + 10
    '| learningRate | 0.01 |',
    '| epochs | 2 |',
    '| batch size | 16 |',
    '| loss \\| weights | a\\|b |',
    '| training | 900 |',
    '| validation | 100 |',
    `| loss | ${Number(Number(history.history.loss!.at(-1)).toPrecision(6))} |`,
  ];
  rows.forEach(row => expect(card.split('\n')).toContain(row));
});

test('a card without options says what the model knows', () => {
  const card = modelCard(adapted());
  expect(card).toContain('# LoRA adapter');
  expect(card).not.toContain('## Training');
  expect(card).not.toContain('## Results');
});

test('errors say what is wrong', () => {
  expect(() => modelCard(tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]}))).toThrow(LoRAError);
  expect(() => modelCard(adapted(), {name: 1 as never})).toThrow('name must be a string, got a number.');
  expect(() => modelCard(adapted(), {data: [1] as never})).toThrow(
    'data must be an object of values by name, got an array.',
  );
  expect(() => modelCard(adapted(), {history: {} as never})).toThrow('history must be what fit returned');
});
