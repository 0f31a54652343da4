import {readFileSync} from 'node:fs';
import {troubleshooting} from '../../scripts/troubleshooting/page';

const {page, unexplained, unused} = troubleshooting();

test('every message of the library has a cause and a way out', () => {
  expect(unexplained).toEqual([]);
});

test('everything that is explained is a message of the library', () => {
  expect(unused).toEqual([]);
});

test('docs/troubleshooting.md is what the source and the explanations give: run `npm run docs:errors`', () => {
  expect(readFileSync('docs/troubleshooting.md', 'utf8')).toBe(page);
});

test.each([
  'The model has no LoRA layers. Adapt it first: applyLoRA(model, {rank: 8}).',
  'The adapter was disposed: its … is no longer there.',
  'No layer matches … ….…',
])('the page has the message %j', message => {
  expect(page).toContain(`\n${message}\n`);
});
