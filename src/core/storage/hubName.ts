import {LoRAError} from '../../platform/errors';

/** Whether an address is one of the Hugging Face hub, `hf://org/name`. */
export function isHub(address: unknown): boolean {
  return /^hf:/i.test(String(address));
}

/** The error of a load, which for a plain `org/name` that is nothing here says how a name of the hub is written. */
export function withHubName(error: unknown, source: unknown): unknown {
  const isName = typeof source === 'string' && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(source);
  // Some servers send a web page for what they do not have.
  const isMissing =
    error instanceof LoRAError && (error.code === 'ERR_NOT_FOUND' || /is a web page/.test(error.message));
  return isName && isMissing
    ? new LoRAError(`${error.message} For a model of the Hugging Face hub, write "hf://${source}".`, {
        code: error.code,
        cause: error,
      })
    : error;
}
