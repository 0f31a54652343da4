import {modelFiles} from '../shared/modelFiles';
import {dataModule, pageConfig} from '../shared/page/viteConfig';
import {makeLines} from './data';
import {folders} from './files';
import type {Line} from './lines';

/** A line whose ink has 8 bits, in base64. */
function packed({ink, ...size}: Line): object {
  return {...size, ink: Buffer.from(Uint8Array.from(ink, value => Math.round(255 * value))).toString('base64')};
}

/** The lines of the page: some to train on and others to test on. */
function lines(): object {
  const {train, test} = makeLines({train: 60, test: 24}, 1);
  return {train: train.map(packed), test: test.map(packed)};
}

export default pageConfig(import.meta.url, {
  plugins: [
    dataModule('lines', lines),
    modelFiles(() => folders().model),
    modelFiles(() => folders().runtime, '/runtime'),
  ],
});
