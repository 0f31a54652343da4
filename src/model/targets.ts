import type * as tf from '@tensorflow/tfjs';
import type {LayerMatcher} from '../config';
import {plainClass} from '../layers/adaptation';
import {baseOf} from '../layers/wrapperLayer';
import type {Site} from './walk';

/** Whether a matcher names a layer: by name, path or class, its own or that of a container around it. */
export function matches(matcher: LayerMatcher, {path, layer, ancestors}: Site): boolean {
  const around = [...ancestors, layer];
  return around.some((candidate, depth) => {
    const candidatePath =
      path.split('/').length === around.length
        ? path
            .split('/')
            .slice(0, depth + 1)
            .join('/')
        : path;
    return typeof matcher === 'string'
      ? matcher === candidate.name || matcher === candidatePath || matcher === classNameOf(candidate)
      : test(matcher, candidate.name) || test(matcher, candidatePath);
  });
}

/** Whether any of the matchers names a layer. */
export function matchesAny(matchers: readonly LayerMatcher[], site: Site): boolean {
  return matchers.some(matcher => matches(matcher, site));
}

/** A line for each matcher that names no layer, with what there is instead. */
export function unmatched(option: string, matchers: readonly LayerMatcher[], sites: readonly Site[]): string[] {
  return matchers
    .filter(matcher => !sites.some(site => matches(matcher, site)))
    .map(matcher => {
      const shown = typeof matcher === 'string' ? `"${matcher}"` : String(matcher);
      return `No layer matches ${option} ${shown}. The model has: ${sites.map(describe).join(', ')}.`;
    });
}

/** A layer as messages name it: `outer/dense_1 (Dense)`. */
export function describe({path, layer}: Site): string {
  return `${path} (${classNameOf(layer)})`;
}

function classNameOf(layer: tf.layers.Layer): string {
  return plainClass(baseOf(layer).getClassName());
}

/** `RegExp.test`, without the memory that patterns with the flag `g` or `y` have. */
function test(pattern: RegExp, text: string): boolean {
  return text.search(pattern) >= 0;
}
