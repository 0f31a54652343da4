import {execFileSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {describeUnless} from '../missing';

const PAGE = readFileSync('examples/layers/README.md', 'utf8');

const hasTfjsNode = existsSync('node_modules/@tensorflow/tfjs-node');

for (const backend of ['wasm', 'tensorflow']) {
  const missing = backend === 'wasm' || hasTfjsNode ? undefined : '`npm run setup -- tfjs-node` brings it.';
  describeUnless(missing, `the example of LoRA layers on ${backend}`, () => {
    test('is exact at the start, after loading and after merging, and leaves the base unchanged', () => {
      const args = ['--silent', 'run', 'example', '--', 'layers', '--backend', backend];
      const lines = execFileSync('npm', args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']}).split('\n');
      const printed = (start: string) => lines.find(line => line.startsWith(start))!.slice(start.length);
      expect(printed('Difference from the base before training: ')).toBe('0');
      expect(printed('Difference after loading: ')).toBe('0');
      expect(Number(printed('Difference after merging: '))).toBeLessThanOrEqual(backend === 'wasm' ? 0 : 1e-5);
      expect(printed('Base unchanged: ')).toBe('true');
      const [before, after] = printed('Accuracy on unseen digits: ')
        .match(/[\d.]+/g)!
        .map(Number);
      expect(before).toBeLessThan(0.2);
      expect(after).toBeGreaterThan(0.6);
      expect(PAGE).toContain(`\n${lines.find(line => line.startsWith('Conv2D'))}\n`);
    }, 120_000);
  });
}
