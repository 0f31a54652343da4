import {fork} from 'node:child_process';
import {once} from 'node:events';
import {fileURLToPath} from 'node:url';

/**
 * Runs a script once for each part, all at a time and each in a process of its own, which is given the part's name and
 * what follows it, and sends one message. Gives these in the order of the parts.
 *
 * @param script the `import.meta.url` of the script.
 */
export function inProcesses<T extends object>(
  script: string,
  parts: readonly string[],
  more: readonly string[],
): Promise<T[]> {
  return Promise.all(
    parts.map(async part => {
      const child = fork(fileURLToPath(script), [part, ...more]);
      const [answer] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [T | number | null];
      if (answer === null || typeof answer === 'number') {
        throw new Error(`The part "${part}" ended with ${answer}.`);
      }
      return answer;
    }),
  );
}
