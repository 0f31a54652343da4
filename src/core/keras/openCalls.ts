import {brief} from '../../platform/errors';

export const CONTAINERS = ['Functional', 'Model', 'Sequential'];

/** A call in tfjs: for each tensor the layer, the index of its call, the index of the output, and arguments. */
type Call = [layer: string, node: number, index: number, kwargs: object][];

/** A layer of a model's graph. */
export interface CalledLayer {
  className: string;
  name: string;
  inboundNodes: Call[];
}

/**
 * Calls of missing layers, or of layers that wait for each other, which would make tfjs wait forever: one line each.
 *
 * @param labelOf how a line calls a layer.
 */
export function callFaults(layers: readonly CalledLayer[], labelOf: (layer: CalledLayer) => string): string[] {
  const made = new Map<string, number>();
  for (const {className, name} of layers) {
    made.set(name, ['InputLayer', ...CONTAINERS].includes(className) ? 1 : 0);
  }
  const waiting = new Map(layers.map(layer => [layer, layer.inboundNodes]));
  for (let went = true; went;) {
    went = false;
    for (const [layer, calls] of waiting) {
      const left = calls.filter(call => {
        const isReady = call.every(([name, node]) => (made.get(name) ?? 0) > node);
        made.set(layer.name, (made.get(layer.name) ?? 0) + (isReady ? 1 : 0));
        return !isReady;
      });
      went ||= left.length < calls.length;
      waiting.set(layer, left);
    }
  }
  return [...waiting].flatMap(([layer, [call]]) =>
    call === undefined ? [] : [`${labelOf(layer)} is called with ${brief(call)}, which no layer returns.`],
  );
}
