import {defineLayer} from './definedLayer';

/**
 * Flattens the choices of all examples, `[batch, choices, positions]` → `[batch·choices, positions]`, so that the
 * following layers compute each choice separately. {@link ChoiceScores} is the inverse.
 *
 * @experimental
 */
export const ChoiceRows = defineLayer('ChoiceRows', {
  integers: [0],
  misfit: ([shape]) => shape.length !== 3 && '[batch, choices, positions]',
  shape: ([shape]) => [null, shape.at(-1) ?? null],
  formula: (o, [x]) => o.reshape(x, [-1, o.size(x, 2)]),
});

/**
 * Groups the logits of choices by example: `[batch·choices, 1]` and the tokens, `[batch, choices, positions]` →
 * `[batch, choices]`. (See {@link ChoiceRows}.)
 *
 * @experimental
 */
export const ChoiceScores = defineLayer('ChoiceScores', {
  inputs: 2,
  integers: [0, 1],
  shape: ([, tokens = []]) => tokens.slice(0, 2),
  formula: (o, [scores, tokens]) => o.reshapeLike(scores, tokens, 2, []),
});
