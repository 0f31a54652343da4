import {spawnSync} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {bundled} from '../bundled';
import {temporaryFolder} from '../temporaryFolder';

const LIBRARY = bundled('src/node.ts');

let folder: string;
beforeEach(() => (folder = temporaryFolder()));

/** What a program prints that runs in a process of its own, since tfjs keeps what is registered. */
function printed(program: string): unknown {
  const file = join(folder, 'program.mjs');
  writeFileSync(file, program.replaceAll('#lib', LIBRARY).replaceAll('#out', `${folder}/out`));
  const {stdout, stderr} = spawnSync(process.execPath, [file], {encoding: 'utf8'});
  const last = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(last);
  } catch {
    throw new Error(stdout + stderr);
  }
}

const TFJS = pathToFileURL(require.resolve('@tensorflow/tfjs')).href;
const SAVE = `
  await tf.setBackend('cpu');
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, useBias: false, inputShape: [2]})]});
  model.setWeights([tf.tensor2d([3, 4], [2, 1])]);
  await lora.mergeLoRA(lora.applyLoRA(model, {rank: 1})).save('file://#out');
  const back = await tf.loadLayersModel('file://#out/model.json');
  const weights = [...back.getWeights()[0].dataSync()];
`;
const COUNTS = `const counts = [tf.io.getSaveHandlers('file://x').length, tf.io.getLoadHandlers('file://x').length];`;
/** What tfjs-node does when it is loaded. */
const THEIRS = `
  const theirs = {save: async () => ({theirs: true}), load: async () => ({})};
  tf.io.registerSaveRouter(url => (String(url).startsWith('file://') ? theirs : null));
  tf.io.registerLoadRouter(url => (String(url).startsWith('file://') ? theirs : null));
`;

test('models are saved to file:// in plain Node, and loaded', () => {
  const found = printed(`
    import tf from '${TFJS}';
    import * as lora from '#lib';
    ${SAVE} ${COUNTS}
    console.log(JSON.stringify({weights, counts, others: tf.io.getSaveHandlers('other://x').length}));
  `);
  expect(found).toEqual({weights: [3, 4], counts: [1, 1], others: 0});
});

test.each(['before', 'after'])('a handler that someone else registers %s the import is the only one', when => {
  const found = printed(`
    import tf from '${TFJS}';
    ${when === 'before' ? THEIRS : ''}
    await import('#lib');
    ${when === 'after' ? THEIRS : ''}
    ${COUNTS}
    const isTheirs = tf.io.getSaveHandlers('file://x')[0] === theirs && tf.io.getLoadHandlers('file://x')[0] === theirs;
    console.log(JSON.stringify({counts, isTheirs}));
  `);
  expect(found).toEqual({counts: [1, 1], isTheirs: true});
});

test('a second copy of the library leaves one handler', () => {
  const found = printed(`
    import tf from '${TFJS}';
    await import('#lib');
    await import('#lib?second');
    ${COUNTS}
    console.log(JSON.stringify(counts));
  `);
  expect(found).toEqual([1, 1]);
});
