import {LoRAError, show} from '../../platform/errors';
import {type CallOptions, checkCallOptions} from '../../platform/signals';

/** How much may be read, and how long. */
export interface LoadOptions {
  /** Ends the load when it is aborted: the promise is rejected with a `LoRAError` of code `ERR_ABORTED`. */
  signal?: AbortSignal;
  /**
   * The most bytes that are read, counted after decompression: a few hundred kilobytes of gzip can swell to gigabytes.
   * Default: 268,435,456 (256 MiB) for what is fetched. There is no default for what is on this machine, nor for models
   * that are read tensor by tensor, whose limit is what the backend can hold.
   */
  maxBytes?: number;
}

/** The default limit of fetched data. */
export const MAX_FETCHED_BYTES = 2 ** 28;

/** @throws LoRAError if a limit is not a number of bytes, or as `checkCallOptions`. */
export function checkLimits({maxBytes, ...options}: LoadOptions & CallOptions): void {
  checkCallOptions(options);
  if (maxBytes !== undefined && !(typeof maxBytes === 'number' && maxBytes > 0)) {
    throw new LoRAError(`maxBytes must be a number of bytes, got ${show(maxBytes)}.`);
  }
}
