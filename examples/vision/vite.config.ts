import {dinov2} from '../../scripts/dinov2';
import {entrySources} from '../../scripts/entries';
import {modelFiles} from '../shared/modelFiles';
import {dataModule, pageConfig} from '../shared/page/viteConfig';
import {choose, DRAWINGS, KINDS} from './data';

/** Emoji of each kind for its class, and others to try. */
function emoji() {
  const {train, test} = choose({train: 15, test: 4}, 1);
  const at = (drawings: number[]) => drawings.map(i => DRAWINGS[i]!);
  return {names: KINDS, train: at(train), test: at(test)};
}

export default pageConfig(import.meta.url, {
  // The source, since the example splits a model, which no entry exports.
  resolve: {alias: entrySources(process.cwd())},
  plugins: [dataModule('emoji', emoji), modelFiles(dinov2)],
});
