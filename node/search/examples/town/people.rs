//! Believable people: the same ones for the same seed, in three alphabets.
//!
//! Not real ones: names and streets are put together out of common parts.

use std::sync::LazyLock;

use search::Doc;

/// Numbers that look random (splitmix64) and are the same for the same seed.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below an end.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % end.max(1) as u64) as usize
    }

    /// One of a list; the first ones are more common.
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len()).min(self.below(list.len()))]
    }
}

type Words = LazyLock<Vec<&'static str>>;
type Letters = LazyLock<Vec<char>>;

static GIVEN: Words = LazyLock::new(|| {
    "Maria Anna James John Olga Peter Carlos Lucía Elena Michael \
    Sofia David José Laura Thomas Emma Antonio Carmen Robert Julia Andreas Katarina \
    Miguel Isabel Henry Alice Jürgen Åsa Zoë Niamh Tomasz Małgorzata Xavier Quentin \
    Walter Ursula Ingrid Yvonne Fergus Dolores"
        .split(' ')
        .collect()
});
static FAMILY: Words = LazyLock::new(|| {
    "Garcia Smith Müller Martin Silva Jones Novak Rossi Fernandez \
    Brown Lopez Wilson Jensen Kowalski Gonzalez Taylor Weber Moreau Hernandez Clark \
    O'Brien Schmidt Dubois Ramirez Walker Fischer Petersen Ortega Robinson Becker \
    Lindqvist Ferrari Navarro Hughes Zimmermann Quiñones MacGregor Vázquez Horvath \
    Björnsson Wójcik Eriksson Castellanos Whitfield Ashworth Hawthorne Blackwood \
    Kingsley Pemberton Thistlewood Featherstone Abernathy"
        .split(' ')
        .collect()
});
static STREET: Words = LazyLock::new(|| {
    "Mill Church Station High Park Victoria Green Queens Manor \
    Kings Springfield Grove Highfield School Garden Orchard Windmill Harbour \
    Chestnut Riverside Juniper Foxglove Quarry"
        .split(' ')
        .collect()
});
static STREET_KIND: Words =
    LazyLock::new(|| "Street Road Avenue Lane Close Drive Terrace Square".split(' ').collect());
static TOWN: Words = LazyLock::new(|| {
    "Northfield Ashford Milton Westbury Kingsbridge Overton Lynmouth \
    Rockhampton"
        .split(' ')
        .collect()
});

static GIVEN_CYR: Words = LazyLock::new(|| {
    "Александр Елена Сергей Ольга Дмитрий Наталья Андрей Ирина \
    Алексей Татьяна Иван Мария Пётр Светлана Михаил Юлия Николай Анна Владимир \
    Екатерина Артём Фёдор Семён Зоя Ксения Ярослав Эльдар Жанна Щукарь Гульнара"
        .split(' ')
        .collect()
});
static ROOT_CYR: Words = LazyLock::new(|| {
    "Иван Петр Сидор Кузнец Смирн Попов Васил Михайл Федор \
    Морозк Волк Алексе Лебед Семён Егор Павл Козл Степан Никол Орл Андре Макар \
    Никит Захар Соловьё Борис Яковл Григорь Роман Воробь Серге Фрол Александр \
    Дмитри Корол Гус Ильи Кириллк Тит Маркел Журавл Щерба Цветк Хохл Чернышк Шуваль \
    Юдашк Эрнест Жданк Баранк"
        .split(' ')
        .collect()
});
static ENDING_CYR: Words =
    LazyLock::new(|| "ов ова ев ева ин ина енко ский ская".split(' ').collect());
static PATRONYMIC: Words = LazyLock::new(|| {
    "Иванович Петровна Сергеевич Александровна Николаевич \
    Владимировна Ильич Фёдорович Дмитриевна Андреевич Юрьевна Семёнович Михайловна \
    Артёмович"
        .split(' ')
        .collect()
});
static STREET_CYR: Words = LazyLock::new(|| {
    "Ленина Мира Советская Садовая Молодёжная Школьная Лесная \
    Гагарина Заречная Набережная Октябрьская Пушкина Кирова Полевая Новая Чапаева \
    Щорса Энгельса Жуковского Цветочная"
        .split(' ')
        .collect()
});
static KIND_CYR: Words = LazyLock::new(|| "ул. пр. пер. бул.".split(' ').collect());
static TOWN_CYR: Words = LazyLock::new(|| {
    "Верхнеозёрск Краснополье Заречный Новоильинск Щёлково \
    Южноград"
        .split(' ')
        .collect()
});

static SURNAME_HAN: Letters = LazyLock::new(|| {
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓冯韩曹曾彭萧蔡潘田董袁于余叶蒋杜苏魏程吕丁沈任姚卢傅钟\
    姜崔谭廖范汪陆金石戴贾韦夏邱方侯邹熊孟秦白江阎薛尹段雷黎史龙陶贺顾毛郝龚邵万钱严"
        .chars().collect()
});
static GIVEN_HAN: Letters = LazyLock::new(|| {
    "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂华建国红梅玉文辉志鹏浩宇轩欣怡子涵梓雨泽晨曦诺一博思源嘉琪俊豪雪\
    琳佳慧诗婷晓东立新春燕海波永健康宁振德胜利学友光荣庆祥瑞松柏竹菊荷莲凤翔云飞鸿远志"
        .chars().collect()
});
static CITY_HAN: Words = LazyLock::new(|| {
    "北京市 上海市 广州市 深圳市 成都市 杭州市 南京市 武汉市 西安市 重庆市".split(' ').collect()
});
static DISTRICT_HAN: Words = LazyLock::new(|| {
    "朝阳区 海淀区 浦东新区 天河区 福田区 武侯区 西湖区 鼓楼区 洪山区 雁塔区 渝中区"
        .split(' ')
        .collect()
});
static ROAD_HAN: Words = LazyLock::new(|| {
    "建国路 人民路 中山路 解放路 长安街 和平路 新华路 北京路 南京路 滨江大道 科技路 学府路 迎宾大道 花园街 \
    胜利路"
        .split(' ').collect()
});

/// Regions of the town: the first one has a hundredth of all documents, the last one next to none.
const REGIONS: usize = 200;

/// One of the documents: a customer, a point or a meter. Keys ascend with the ordinal.
pub fn doc(seed: u64, ordinal: usize) -> Doc {
    let mut dice = Dice(seed ^ (ordinal as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let number = 4_000_000_000 + ordinal * 7 + dice.below(7);
    let text = match dice.below(3) {
        0 => latin(&mut dice),
        1 => cyrillic(&mut dice),
        _ => chinese(&mut dice),
    };
    let region = dice.below(REGIONS).min(dice.below(REGIONS)) as u32;
    let class = dice.below(3) as u8;
    let (key, text) = (format!("c{ordinal:010}").into_bytes(), format!("{number} {text}"));
    Doc { key, text, region, class }
}

fn latin(dice: &mut Dice) -> String {
    let (given, second) = (dice.of(&GIVEN), dice.of(&GIVEN));
    let (family, other) = (dice.of(&FAMILY), dice.of(&FAMILY));
    let family = if dice.below(5) == 0 { format!("{family}-{other}") } else { family.to_owned() };
    let (street, kind, town) = (dice.of(&STREET), dice.of(&STREET_KIND), dice.of(&TOWN));
    let (house, flat) = (1 + dice.below(240), 1 + dice.below(90));
    let post = (b'A' + dice.below(26) as u8) as char;
    let code = dice.below(90) + 10;
    let phone = 44_100_000_000 + dice.below(999_999_999);
    format!(
        "{family}, {given} {second}; Flat {flat}, {house} {street} {kind}, {town} {post}{code} \
         {house}{post}B, meter {}-{code}, tel. {phone}",
        dice.below(99_999_999)
    )
}

fn cyrillic(dice: &mut Dice) -> String {
    let (root, ending) = (dice.of(&ROOT_CYR), dice.of(&ENDING_CYR));
    let (given, father) = (dice.of(&GIVEN_CYR), dice.of(&PATRONYMIC));
    let (kind, street, town) = (dice.of(&KIND_CYR), dice.of(&STREET_CYR), dice.of(&TOWN_CYR));
    let (house, flat) = (1 + dice.below(180), 1 + dice.below(300));
    let phone = 79_000_000_000 + dice.below(999_999_999);
    format!("{root}{ending} {given} {father}, {town}, {kind} {street} {house}-{flat}, {phone}")
}

fn chinese(dice: &mut Dice) -> String {
    let mut name = dice.of(&SURNAME_HAN).to_string();
    for _ in 0..1 + dice.below(2) {
        name.push(dice.of(&GIVEN_HAN));
    }
    let (city, district) = (dice.of(&CITY_HAN), dice.of(&DISTRICT_HAN));
    let (road, house) = (dice.of(&ROAD_HAN), 1 + dice.below(400));
    let (unit, room) = (1 + dice.below(9), 101 + dice.below(2900));
    let phone = 861_300_000_000 + dice.below(999_999_999);
    format!("{name} {city}{district}{road}{house}号{unit}单元{room}室 {phone}")
}
