import DefaultTheme from 'vitepress/theme';
import {type EnhanceAppContext, useRoute} from 'vitepress';
import {h, nextTick, onMounted, watch} from 'vue';
import dark from '../../../examples/browser/page-dark.jpg';
import light from '../../../examples/browser/page-light.jpg';
import {RunBlock} from './RunBlock';
import './style.css';

const ALT = 'A page that learns symbols drawn by hand in a few seconds';

/** The page of digits, beside the first words of the opening page. */
function picture() {
  const images = Object.entries({light, dark}).map(([mode, src]) => h('img', {class: `${mode}-only`, src, alt: ALT}));
  return h('div', {class: 'home-picture'}, images);
}

/** VitePress gives its opening page no main part, to which readers of screens jump. */
function markMain(): void {
  document.querySelector('.VPHome')?.setAttribute('role', 'main');
}

export default {
  extends: DefaultTheme,
  enhanceApp: ({app}: EnhanceAppContext) => {
    app.component('RunBlock', RunBlock);
  },
  setup: () => {
    const route = useRoute();
    onMounted(() =>
      watch(
        () => route.path,
        () => nextTick(markMain),
        {immediate: true},
      ),
    );
  },
  Layout: () => h(DefaultTheme.Layout, null, {'home-hero-image': picture}),
};
