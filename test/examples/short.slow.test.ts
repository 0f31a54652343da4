import {readFileSync} from 'node:fs';
import {PROGRAMS} from '../../scripts/programs';

const SHORT = Object.values(PROGRAMS.example!.commands)
  .map(command => command.split(' ')[1]!)
  .filter(file => readFileSync(file, 'utf8').includes("includes('--quick')"));

test('there are examples with a short form', () => {
  expect(SHORT).toEqual(expect.arrayContaining(['examples/superres/train.ts', 'examples/language/preferences.ts']));
});

test.each(SHORT)('the short form of %s says that its figures are not those to go by', file => {
  expect(readFileSync(file, 'utf8')).toMatch(
    /if \((?:QUICK|quick|isQuick)\) \{\s*console\.log\((?:SHORT|`\\n\$\{SHORT\}`)\)/,
  );
});
