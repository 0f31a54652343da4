import * as tf from '@tensorflow/tfjs';

const LETTERS = 'abcdefghijkl';
/** The signs of the texts: the letters, and the one after which the answer stands. */
export const SIGNS = `${LETTERS}=`;
/** Letters in a word. */
export const LENGTH = 6;
/** Signs that the model reads: a word, `=`, and the answer but its last letter. */
export const READ = 2 * LENGTH;

/** The expected answer to a word. */
export type Task = (word: string) => string;

/** The word once more. */
export const repeat: Task = word => word;

/** The word from its end. */
export const reverse: Task = word => Array.from(word).reverse().join('');

/** Words and their answers, as a model takes them. */
export interface Examples {
  /** Numbers of signs, `[n, READ]`. */
  texts: tf.Tensor2D;
  /**
   * One-hot: at each place the sign that comes next if it belongs to the answer, elsewhere zeros, which no loss counts.
   * `[n, READ, signs]`
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

/** What a model answers to a word: each letter is the likeliest after those that it has written before. */
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
