import {useRoute, withBase} from 'vitepress';
import {defineComponent, h, onMounted, onUnmounted, ref} from 'vue';
import {type Message, post} from '../../messages';

/** The texts of a page's blocks, as its reader has edited them: a block runs after those above it. */
const texts = new Map<string, Map<number, () => string>>();

/** A block of code with *Run*, which shows it in a field, and its output below it. */
export const RunBlock = defineComponent({
  props: {
    page: {type: String, required: true},
    index: {type: Number, required: true},
    code: {type: String, required: true},
  },
  setup: ({page, index, code}, {slots}) => {
    const path = useRoute().path;
    const text = ref(decodeURIComponent(code));
    const runs = ref(0);
    const state = ref<'' | 'running' | 'done' | 'failed'>('');
    const height = ref(40);
    const frame = ref<HTMLIFrameElement>();
    const ofPage = texts.get(path) ?? new Map<number, () => string>();
    texts.set(path, ofPage);
    ofPage.set(index, () => text.value);

    const receive = ({source, data}: MessageEvent<Message>) => {
      const target = frame.value?.contentWindow;
      if (source === null || source !== target) {
        return;
      }
      if (data.kind === 'ready') {
        const blocks = [...ofPage].filter(([other]) => other <= index).sort(([one], [other]) => one - other);
        post(target, {kind: 'run', program: {page, blocks: blocks.map(([, textOf]) => textOf())}});
      } else if (data.kind === 'size') {
        height.value = Math.min(data.height, 480);
      } else if (data.kind === 'end') {
        state.value = data.error === undefined ? 'done' : 'failed';
      }
    };
    onMounted(() => addEventListener('message', receive));
    onUnmounted(() => {
      removeEventListener('message', receive);
      ofPage.delete(index);
    });
    const start = () => {
      [runs.value, state.value] = [runs.value + 1, 'running'];
    };
    const edit = ({target}: Event) => {
      text.value = (target as HTMLTextAreaElement).value;
    };

    const words = {'': 'Run', running: 'Running …', done: 'Run again', failed: 'Run again'};
    return () =>
      h('div', {class: 'run-block', 'data-state': state.value}, [
        runs.value === 0
          ? slots.default?.()
          : h('textarea', {
              'aria-label': 'code',
              rows: text.value.split('\n').length,
              spellcheck: false,
              value: text.value,
              onInput: edit,
            }),
        h('button', {type: 'button', disabled: state.value === 'running', onClick: start}, words[state.value]),
        runs.value > 0 &&
          h('iframe', {
            key: runs.value,
            ref: frame,
            title: 'output',
            src: withBase('/site/run'),
            style: {height: `${height.value}px`},
          }),
      ]);
  },
});
