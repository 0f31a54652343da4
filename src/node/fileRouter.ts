import * as tf from '@tensorflow/tfjs';
import {localFileHandler} from './localFileHandler';

/**
 * Lets `model.save('file://out/emoji')` and `tf.loadLayersModel('file://out/emoji')` find `fileHandler` if no other
 * handler takes `file://`: tfjs refuses a URL that two handlers take, and tfjs-node has one, which may be loaded later.
 * A second copy of this library finds that of the first, and registers none.
 */
export function registerFileRouter(): void {
  const find = {
    save: (url: string) => tf.io.getSaveHandlers(url),
    load: (url: string) => tf.io.getLoadHandlers(url),
  };
  for (const action of ['save', 'load'] as const) {
    if (find[action]('file://model').length > 0) {
      continue;
    }
    let isAsking = false;
    const router = (url: string | string[]): tf.io.IOHandler => {
      if (isAsking || typeof url !== 'string' || !url.startsWith('file://')) {
        return null as unknown as tf.io.IOHandler; // as tfjs's own routers say that it is not theirs
      }
      isAsking = true;
      try {
        return find[action](url).length > 0 ? (null as unknown as tf.io.IOHandler) : localFileHandler(url);
      } finally {
        isAsking = false;
      }
    };
    (action === 'save' ? tf.io.registerSaveRouter : tf.io.registerLoadRouter)(router);
  }
}
