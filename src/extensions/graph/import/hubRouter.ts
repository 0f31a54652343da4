import * as tf from '@tensorflow/tfjs';
import {isHub} from '../../../core/storage/hubName';

/**
 * Lets `tf.loadGraphModel('hf://org/name/model.json')` and `tf.loadLayersModel` read the hub. tfjs refuses an address
 * that two handlers take, so a second copy of this library registers none.
 */
export function registerHubRouter(): void {
  if (tf.io.getLoadHandlers('hf://org/name').length > 0) {
    return;
  }
  tf.io.registerLoadRouter((url, options) =>
    typeof url === 'string' && isHub(url)
      ? tf.io.http(url, {fetchFunc: fetchFromHub(), ...options})
      : (null as unknown as tf.io.IOHandler),
  );
}

/** A `fetch` for the files of one model. Most pages load nothing by such an address. */
function fetchFromHub(): typeof fetch {
  let limited: Promise<typeof fetch> | undefined;
  return async (input, init) => {
    limited ??= import('../../../core/storage/sources').then(({limitedFetch}) => limitedFetch({maxBytes: Infinity}));
    return (await limited)(input, init);
  };
}
