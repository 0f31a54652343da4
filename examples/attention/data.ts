import * as tf from '@tensorflow/tfjs';

const LETTERS = 'abcdefghijkl';
/** The characters of the texts: letters, and the sign before the answer. */
export const SIGNS = `${LETTERS}=`;
/** The length of a word. */
export const LENGTH = 6;
/** The characters that the model reads: a word, `=`, and the answer without its last letter. */
export const READ = 2 * LENGTH;

/** The expected answer to a word. */
export type Task = (word: string) => string;

/** The word itself. */
export const repeat: Task = word => word;

/** The word backwards. */
export const reverse: Task = word => Array.from(word).reverse().join('');

/** Words and their answers as tensors. */
export interface Examples {
  /** Character ids, `[n, READ]`. */
  texts: tf.Tensor2D;
  /**
   * One-hot: the next character at each position of the answer. Elsewhere zeros, which the loss ignores.
   * `[n, READ, characters]`
   */
  answers: tf.Tensor3D;
}

/** Words of random letters, the same ones for the same seed. */
export function makeWords(count: number, seed: number): string[] {
  const numbers = tf.tidy(() => tf.randomUniform([count, LENGTH], 0, LETTERS.length, 'float32', seed).arraySync());
  return (numbers as number[][]).map(word => word.map(value => LETTERS[Math.floor(value)]!).join(''));
}

/** Words with the answers of a task. */
export function encode(words: readonly string[], task: Task): Examples {
  return tf.tidy(() => {
    const signs = words.map(word => numbersOf(`${word}=${task(word)}`));
    const next = tf.oneHot(
      tf.tensor2d(
        signs.map(text => text.slice(1)),
        [words.length, READ],
        'int32',
      ),
      SIGNS.length,
    );
    const answered = tf.greaterEqual(tf.range(0, READ), LENGTH); // from the `=` on
    const counts = tf.reshape(tf.cast(answered, 'float32'), [1, READ, 1]);
    return {
      texts: tf.tensor2d(signs.map(text => text.slice(0, -1))),
      answers: tf.mul<tf.Tensor3D>(next, counts),
    };
  });
}

/** The answer of a model to a word, by greedy decoding. */
export function write(model: tf.LayersModel, word: string): string {
  let text = `${word}=`;
  while (text.length < READ + 1) {
    const next = tf.tidy(() => {
      const read = tf.tensor2d([numbersOf(text.padEnd(READ, '='))]); // what lies ahead is not seen
      const chances = model.predict(read) as tf.Tensor3D;
      return tf.argMax(tf.slice(chances, [0, text.length - 1, 0], [1, 1, -1]), 2).dataSync()[0]!;
    });
    text += SIGNS[next]!;
  }
  return text.slice(LENGTH + 1);
}

function numbersOf(text: string): number[] {
  return Array.from(text, sign => SIGNS.indexOf(sign));
}
