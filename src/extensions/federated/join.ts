import {checkNumber, checkOptions, kindOf, LoRAError, show} from '../../platform/errors';
import {checkCallOptions} from '../../platform/signals';
import {checkNodeKey} from './nodeKey';
import {type FederationSummary, type JoinFederationOptions, Participation} from './participation';
import {SharedTensors} from './sharedTensors';

/** A participating node. */
export interface Federation {
  /** Fulfilled when the node's run has ended, or the node has left. */
  finished: Promise<FederationSummary>;
  /**
   * Leaves as soon as the reply in progress has been sent. Returns `finished`. If the server does not answer, it waits
   * 3 s, and 30 s for each call of a reply; `finished` rejects if a reply is lost.
   */
  leave(): Promise<FederationSummary>;
}

/**
 * Joins a run of a Flower server with an adapted model. Each round sets the server's adapter, calls `train`, and sends
 * the trainable parameters back, weighted by `examples`. The base and the examples never leave this process. Tensors
 * are named as in adapter files. Frozen tensors, such as the `lora_A` of `'lora-fa'`, are not sent: start all nodes
 * from one adapter file.
 *
 * Unanswered calls are repeated, and a node that the server has forgotten registers again. If `train` or `evaluate`
 * throws, the node reports the failure to the server, restores the adapter from before the round, and rejects
 * `finished`.
 *
 * @param options the server, the model, what to do in a round, and callbacks.
 * @returns the running node: the promise `finished`, and `leave()`.
 * @throws LoRAError `ERR_OPTION` at once if an option is not valid, `ERR_NOT_ADAPTED` if the model is not adapted.
 *     `finished` is rejected with a LoRAError if there is no such server, if it refuses the node or sends something
 *     that does not fit the model, and with code `ERR_ABORTED` if the signal is aborted.
 * @experimental Flower does not document the calls that this makes. They are those of version 1.42.
 * @example
 *     const node = joinFederation({
 *       url: 'http://127.0.0.1:8000',
 *       model,
 *       train: async model => {
 *         await model.fit(x, y, {epochs: 1});
 *         return {examples: x.shape[0]};
 *       },
 *     });
 *     const {rounds} = await node.finished;
 */
export function joinFederation(options: JoinFederationOptions): Federation {
  checkOptions(options, {
    url: true,
    model: true,
    train: true,
    evaluate: true,
    key: true,
    signal: true,
    onRound: true,
    onState: true,
    heartbeatSeconds: true,
  });
  checkCallOptions(options);
  const {url, train, evaluate, onRound, onState, heartbeatSeconds = 30, model, key} = options;
  if (typeof url !== 'string' || url === '') {
    throw new LoRAError(`url must be the address of a SuperLink, such as "http://127.0.0.1:8000", got ${show(url)}.`);
  }
  for (const [name, f] of Object.entries({train, evaluate, onRound, onState})) {
    if (typeof (f as unknown) !== 'function' && (name === 'train' || f !== undefined)) {
      throw new LoRAError(`${name} must be a function, got ${kindOf(f)}.`);
    }
  }
  if (key !== undefined) {
    checkNodeKey(key);
  }
  const isInterval = heartbeatSeconds >= 10 && heartbeatSeconds <= 1800;
  checkNumber('heartbeatSeconds', heartbeatSeconds, isInterval, 'a number from 10 to 1800');
  const participation = new Participation({...options, heartbeatSeconds}, new SharedTensors(model));
  const finished = participation.run();
  return {
    finished,
    leave: () => {
      participation.departure.leave();
      return finished;
    },
  };
}
